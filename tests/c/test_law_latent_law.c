/* Laws of latent terms against their covariances written out, differences, and the maxima that are
 * known in closed form. */
#include <math.h>
#include <string.h>

#include "law/latent_law.h"
#include "math/la.h"
#include "reference.h"

enum { Q = 4 };

static const double matrix[Q * Q] = {4.0, 1.0,  0.5, 0.0, 1.0, 2.0, -0.3, 0.4,
                                     0.5, -0.3, 1.0, 0.1, 0.0, 0.4, 0.1,  3.0};

typedef struct {
  latent_terms terms;
  double sd[Q], unit[Q];
  latent_law law;
} example;

static void start(example *e, latent_kind kind, int q, int common) {
  memset(e, 0, sizeof *e);
  e->terms = (latent_terms){.kind = kind,
                            .q = q,
                            .common = common,
                            .sd = e->sd,
                            .cor = NAN,
                            .unit = e->unit,
                            .matrix = matrix};
  for (int i = 0; i < Q; i++) {
    e->sd[i] = NAN;
    e->unit[i] = ldexp(1.0, i % 3 - 1);
  }
}

static void finish(example *e) { latent_law_init(&e->law, &e->terms, &test_memory); }

/* Sigma of the kinds other than the free one, from sds and rho. */
static void dense(const example *e, const double *sd, double rho, double *Sigma) {
  const int q = e->terms.q;
  for (int i = 0; i < q; i++)
    for (int j = 0; j < q; j++) {
      const double R = e->terms.kind == LATENT_MULTIPLE    ? matrix[i + q * j]
                       : i == j                            ? 1.0
                       : e->terms.kind == LATENT_SYMMETRIC ? rho
                       : e->terms.kind == LATENT_AR1       ? pow(rho, abs(i - j))
                                                           : 0.0;
      Sigma[i + q * j] = e->unit[i] * e->unit[j] * sd[i] * sd[j] * R;
    }
}

static void sigma_at(void *ctx, const double *eta, double *Sigma) {
  const latent_law *law = (const latent_law *)ctx;
  double L[Q * Q];
  latent_law_root(law, eta, L);
  la_multiply_t(L, L, law->q, law->q, law->q, Sigma);
}

static void slopes_at(void *ctx, const double *eta, double *out) {
  const latent_law *law = (const latent_law *)ctx;
  for (int k = 0; k < law->n_eta; k++) latent_law_slope(law, eta, k, out + law->q * law->q * k);
}

/* The root, and its slope by eta_k. */
typedef struct {
  const latent_law *law;
  int k;
} root_case;

static void root_at(void *ctx, const double *eta, double *L) {
  const root_case *of = (const root_case *)ctx;
  if (of->k < 0)
    latent_law_analytic_root(of->law, eta, L);
  else
    latent_law_root_slope(of->law, eta, of->k, -1, L);
}

static void check_root_slopes(const latent_law *law, const double *eta) {
  const int q = law->q, n = law->n_eta;
  double got[Q * Q], expected[Q * Q];
  for (int k = 0; k < n; k++)
    for (int l = -1; l < n; l++) {
      root_case of = {law, l < 0 ? -1 : k};
      differences(root_at, &of, eta, n, l < 0 ? k : l, 1e-2, expected, q * q);
      latent_law_root_slope(law, eta, k, l, got);
      CHECK(distance(got, expected, q * q) < 1e-8);
    }
}

static double *random_eta(const latent_law *law) {
  double *eta = new_doubles(law->n_eta);
  for (int k = 0; k < law->n_eta; k++) eta[k] = 0.4 + 0.8 * random_uniform();
  return eta;
}

static void check_chain_rules(example *e) {
  const int q = e->law.q, n = e->law.n_eta;
  double *eta = random_eta(&e->law), *slopes = new_doubles(q * q * n), *curvature, G[Q * Q];
  double *expected = new_doubles(q * q * n), *G_slope = new_doubles(n);
  check_root_slopes(&e->law, eta);
  slopes_at(&e->law, eta, slopes);
  for (int i = 0; i < q; i++)
    for (int j = 0; j <= i; j++) G[i + q * j] = G[j + q * i] = random_normal();
  curvature = new_doubles((n + 1) * n);
  latent_law_curvature(&e->law, eta, G, n + 1, curvature);
  for (int k = 0; k < n; k++) {
    differences(sigma_at, &e->law, eta, n, k, 1e-2, expected, q * q);
    CHECK(distance(slopes + q * q * k, expected, q * q) < 1e-9);
    differences(slopes_at, &e->law, eta, n, k, 1e-2, expected, q * q * n);
    for (int l = 0; l < n; l++) {
      G_slope[l] = 0.0;
      for (int i = 0; i < q * q; i++) G_slope[l] += G[i] * expected[q * q * l + i];
      CHECK_CLOSE(curvature[l + (n + 1) * k], G_slope[l], 1e-8);
    }
  }
}

/* Packing a root gives the Sigma back, and canonical coordinates are the same Sigma. */
static void check_pack(example *e) {
  const int q = e->law.q, n = e->law.n_eta;
  for (int i = 0; i < 10; i++) {
    double *eta = random_eta(&e->law), *back = new_doubles(n), L[Q * Q], Sigma[Q * Q], got[Q * Q];
    for (int k = 0; k < n; k++)
      if (random_uniform() < 0.5) eta[k] *= e->law.kind == LATENT_DIAGONAL ? -1.0 : 1.5;
    sigma_at(&e->law, eta, Sigma);
    latent_law_root(&e->law, eta, L);
    for (int a = 0; a < q; a++)
      for (int b = a + 1; b < q; b++) CHECK(L[a + q * b] == 0.0);
    latent_law_pack(&e->law, L, back);
    sigma_at(&e->law, back, got);
    CHECK(distance(got, Sigma, q * q) < 1e-12);
    latent_law_canonical(&e->law, eta);
    sigma_at(&e->law, eta, got);
    CHECK(distance(got, Sigma, q * q) < 1e-12);
    CHECK(distance(back, eta, n) < 1e-7);
  }
}

static void test_all_kinds(void) {
  static const latent_kind kinds[] = {LATENT_FREE, LATENT_DIAGONAL, LATENT_SYMMETRIC, LATENT_AR1,
                                      LATENT_MULTIPLE};
  for (int i = 0; i < 5; i++)
    for (int q = 1; q <= Q; q++)
      for (int common = 0; common < 2; common++)
        for (int held = 0; held < 4; held++) { /* its first sd, its correlation */
          example e;
          if (kinds[i] == LATENT_MULTIPLE && q != Q) continue;
          start(&e, kinds[i], q, common);
          if (held & 1) e.sd[0] = 0.75;
          if ((held & 2) && (kinds[i] != LATENT_FREE || q == 2)) e.terms.cor = 0.3;
          finish(&e);
          check_chain_rules(&e);
          check_pack(&e);
          test_free();
        }
}

static void test_values(void) {
  static const latent_kind kinds[] = {LATENT_DIAGONAL, LATENT_SYMMETRIC, LATENT_AR1,
                                      LATENT_MULTIPLE};
  for (int i = 0; i < 4; i++)
    for (int common = 0; common < 2; common++) {
      example e;
      double sd[Q], Sigma[Q * Q], got[Q * Q], phi = 0.4, eta[Q + 1];
      start(&e, kinds[i], Q, common);
      finish(&e);
      const int one = common || kinds[i] == LATENT_MULTIPLE;
      const int correlated = kinds[i] == LATENT_SYMMETRIC || kinds[i] == LATENT_AR1;
      CHECK(e.law.n_eta == (one ? 1 : Q) + correlated);
      for (int k = 0; k < Q; k++) sd[k] = one ? 0.7 : 0.5 + 0.3 * k;
      for (int k = 0; k < (one ? 1 : Q); k++) eta[k] = correlated && !one ? sqrt(sd[k]) : sd[k];
      eta[one ? 1 : Q] = phi;
      /* -1/3 < rho < 1 of four terms, -1 < rho < 1. */
      dense(&e, sd, kinds[i] == LATENT_AR1 ? sin(phi) : 1.0 / 3.0 + 2.0 / 3.0 * sin(phi), Sigma);
      sigma_at(&e.law, eta, got);
      CHECK(distance(got, Sigma, Q * Q) < 1e-14);
      test_free();
    }
}

/* rho at its bounds, and an sd at zero: the root is that of a singular Sigma. */
static void test_boundary(void) {
  static const latent_kind kinds[] = {LATENT_SYMMETRIC, LATENT_AR1};
  static const double turns[] = {1.57079632679489662, -1.57079632679489662};
  for (int i = 0; i < 2; i++)
    for (int t = 0; t < 2; t++)
      for (int common = 0; common < 2; common++) {
        example e;
        double eta[Q + 1] = {0.8, 0.9, 1.1, 0.7, 0.0}, sd[Q], Sigma[Q * Q], got[Q * Q];
        start(&e, kinds[i], Q, common);
        finish(&e);
        eta[common ? 1 : Q] = turns[t];
        if (!common) eta[1] = 0.0;
        const double least = kinds[i] == LATENT_AR1 ? -1.0 : -1.0 / 3.0;
        for (int k = 0; k < Q; k++) sd[k] = common ? eta[0] : eta[k] * eta[k];
        dense(&e, sd, t ? least : 1.0, Sigma);
        sigma_at(&e.law, eta, got);
        CHECK(distance(got, Sigma, Q * Q) < 1e-13);
        double L[Q * Q], slope[Q * Q];
        latent_law_root(&e.law, eta, L);
        for (int k = 0; k < Q; k++)
          for (int r = 0; r < Q; r++) CHECK(L[k * (Q + 1)] > 0.0 || L[r + Q * k] == 0.0);
        latent_law_slope(&e.law, eta, e.law.eta_of_cor, slope); /* stationary */
        CHECK(largest(slope, Q * Q) < 1e-15);
        check_root_slopes(&e.law, eta); /* analytic there too */
        test_free();
      }
}

/* Where there is a closed form for the maximum of -(n log |Sigma| + tr(Sigma^{-1} S)) / 2 its
 * gradient is zero, d = tr(Sigma^{-1} (S - n Sigma) Sigma^{-1} dSigma) / 2. */
static void test_closed(void) {
  static const latent_kind kinds[] = {LATENT_FREE, LATENT_DIAGONAL, LATENT_SYMMETRIC, LATENT_AR1,
                                      LATENT_MULTIPLE};
  int closed = 0;
  for (int i = 0; i < 5; i++)
    for (int common = 0; common < 2; common++) {
      const double n = 7.0;
      example e;
      start(&e, kinds[i], Q, common);
      for (int k = 0; k < Q; k++) e.unit[k] = 1.0 + 0.5 * k;
      finish(&e);
      if (!latent_law_closed(&e.law)) continue;
      closed++;
      double A[Q * Q], S[Q * Q], L[Q * Q], Sigma[Q * Q], inverse[Q * Q], half[Q * Q], G[Q * Q];
      double *eta = new_doubles(e.law.n_eta), slope[Q * Q];
      for (int k = 0; k < Q * Q; k++) A[k] = random_normal();
      la_multiply_t(A, A, Q, Q, Q, S);
      for (int k = 0; k < Q; k++) S[k * (Q + 1)] += 1.0; /* far from singular */
      for (int k = 0; k < Q * Q; k++) L[k] = S[k] / n;
      CHECK(la_chol(L, Q) == ELBO_OK);
      latent_law_pack(&e.law, L, eta);
      sigma_at(&e.law, eta, Sigma);
      memcpy(inverse, Sigma, sizeof inverse);
      CHECK(la_chol(inverse, Q) == ELBO_OK && la_inverse_from_chol(inverse, Q) == ELBO_OK);
      for (int k = 0; k < Q * Q; k++) S[k] -= n * Sigma[k];
      la_multiply(inverse, S, Q, Q, Q, half);
      la_multiply(half, inverse, Q, Q, Q, G);
      for (int k = 0; k < e.law.n_eta; k++) {
        double sum = 0.0, size = 0.0;
        latent_law_slope(&e.law, eta, k, slope);
        for (int j = 0; j < Q * Q; j++) {
          sum += G[j] * slope[j];
          size += fabs(G[j] * slope[j]);
        }
        CHECK(fabs(sum) <= 1e-10 * (1.0 + size));
      }
      test_free();
    }
  CHECK(closed == 7); /* free, diagonal and multiple with or without, symmetric with a common sd */
}

/* A term without a law has rows of zeros, whatever the others have. */
static void test_no_law(void) {
  for (int kind = LATENT_FREE; kind <= LATENT_DIAGONAL; kind++) {
    example e;
    double L[9];
    start(&e, (latent_kind)kind, 3, 0);
    e.sd[1] = HUGE_VAL;
    finish(&e);
    CHECK(e.law.row[1] == LATENT_ROW_NO_LAW);
    latent_law_root(&e.law, random_eta(&e.law), L);
    for (int c = 0; c < 3; c++) CHECK(L[1 + 3 * c] == 0.0);
    check_chain_rules(&e);
    test_free();
  }
}

int main(void) {
  test_all_kinds();
  test_values();
  test_boundary();
  test_closed();
  test_no_law();
  test_free();
  return FINISH();
}
