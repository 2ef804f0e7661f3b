/* The free parameters of the mixed model: there and back, what constants fix, and derivatives
 * against differences. */
#include <string.h>

#include "glmm/parameters.h"
#include "reference.h"

static const double pi = 3.14159265358979323846;

/* A model of q terms in blocks and n_level residual variances; all free, nothing scaled. */
typedef struct {
  lmm_stats stats;
  lmm_law law;
  lmm_parameters par;
  int block[4];
  double sd[4], cor[4], sigma[3];
  double shift[4], scale[4];
  int intercept[4];
} model;

static void model_init(model *m, int q, int n_block, const int *block, int n_level) {
  memset(m, 0, sizeof *m);
  m->stats.q = q;
  m->stats.n_level = n_level;
  m->stats.scaling.y_scale = m->stats.scaling.root_weight_scale = 1.0;
  m->stats.scaling.z_shift = m->shift;
  m->stats.scaling.z_scale = m->scale;
  m->stats.scaling.z_intercept = m->intercept;
  for (int k = 0; k < q; k++) {
    m->block[k] = block[k];
    m->sd[k] = NAN;
    m->scale[k] = 1.0;
    m->intercept[k] = -1;
  }
  for (int b = 0; b < n_block; b++) m->cor[b] = NAN;
  for (int l = 0; l < n_level; l++) m->sigma[l] = NAN;
  const lmm_law law = {.method = LMM_EM,
                       .n_block = n_block,
                       .block = m->block,
                       .sd = m->sd,
                       .cor = m->cor,
                       .sigma = m->sigma};
  m->law = law;
}

static void model_finish(model *m) {
  lmm_parameters_init(&m->par, &m->stats, &m->law, &test_memory);
}

static const int one_block[4] = {0, 0, 0, 0}, two_blocks[4] = {0, 0, 1, 1}, split[4] = {0, 1, 2, 3};

static double *random_eta(const lmm_parameters *par) {
  double *eta = new_doubles(par->n_eta);
  for (int j = 0; j < par->n_eta; j++) eta[j] = 0.3 + 2.0 * random_uniform();
  return eta;
}

/* ---- values ---------------------------------------------------------------------------------- */

static void test_free_rows(void) {
  model m;
  model_init(&m, 2, 1, one_block, 2);
  model_finish(&m);
  CHECK(m.par.n_eta == 5);
  CHECK(m.par.n_sigma == 2);
  CHECK(m.par.n_pair == 3);
  /* L = [2 0; 1 3], so Sigma = [4 2; 2 10]; variances are exp(2 eta). */
  const double eta[5] = {2, 1, 3, 0, log(5.0)}, Sigma[4] = {4, 2, 2, 10}, L[4] = {2, 1, 0, 3};
  double got_L[4], got[4], variance[2], back[5];
  lmm_parameters_unpack(&m.par, eta, got_L, got, variance);
  CHECK(distance(got_L, L, 4) == 0.0);
  CHECK(distance(got, Sigma, 4) == 0.0);
  CHECK_CLOSE(variance[0], 1.0, 1e-15);
  CHECK_CLOSE(variance[1], 25.0, 1e-15);
  lmm_parameters_pack(&m.par, got, variance, back);
  CHECK(distance(back, eta, 5) < 1e-15);
}

static void test_constant_sd(void) {
  model m;
  model_init(&m, 3, 1, one_block, 1);
  m.sd[1] = 2.0;
  m.sd[2] = 4.0;
  m.sigma[0] = 0.5;
  model_finish(&m);
  /* Rows of 1, 1 and 2 parameters: a length, an angle, two angles. */
  CHECK(m.par.n_eta == 4);
  CHECK(m.par.n_sigma == 0);
  for (int row = 0; row < 3; row++) {
    const int b = lmm_block_of(&m.par, row);
    CHECK(latent_law_row_size(m.par.law + b, row - m.par.start[b]) == (row < 2 ? 1 : 2));
  }
  /* 2 (cos 60, sin 60) = (1, sqrt 3), and 4 (cos 60, sin 60 cos 30, sin 60 sin 30) =
   * (2, 3, sqrt 3). */
  const double eta[4] = {3, pi / 3, pi / 3, pi / 6};
  const double L[9] = {3, 1, 2, 0, sqrt(3.0), 3, 0, 0, sqrt(3.0)};
  double got_L[9], Sigma[9], variance[1], back[4];
  lmm_parameters_unpack(&m.par, eta, got_L, Sigma, variance);
  CHECK(distance(got_L, L, 9) < 1e-15);
  CHECK_CLOSE(Sigma[4], 4.0, 1e-15);
  CHECK_CLOSE(Sigma[8], 16.0, 1e-15);
  CHECK(variance[0] == 0.25);
  lmm_parameters_pack(&m.par, Sigma, variance, back);
  CHECK(distance(back, eta, 4) < 1e-14);
  for (int i = 0; i < 20; i++) { /* whatever the angles, the lengths stay */
    const double *any = random_eta(&m.par);
    lmm_parameters_unpack(&m.par, any, got_L, Sigma, variance);
    CHECK_CLOSE(Sigma[4], 4.0, 1e-14);
    CHECK_CLOSE(Sigma[8], 16.0, 1e-14);
  }
}

static void test_constant_correlation(void) {
  model m;
  model_init(&m, 2, 1, one_block, 1);
  m.cor[0] = -0.6;
  model_finish(&m);
  CHECK(m.par.n_eta == 3);
  const double eta[3] = {2, 5, 0}, Sigma[4] = {4, -6, -6, 25}; /* -0.6 * 2 * 5 = -6 */
  double L[4], got[4], variance[1], back[3];
  lmm_parameters_unpack(&m.par, eta, L, got, variance);
  CHECK(distance(got, Sigma, 4) < 1e-15);
  lmm_parameters_pack(&m.par, got, variance, back);
  CHECK(distance(back, eta, 3) < 1e-15);

  model_init(&m, 2, 1, one_block, 1); /* all of the block constant */
  m.cor[0] = -0.6;
  m.sd[0] = 2.0;
  m.sd[1] = 5.0;
  model_finish(&m);
  CHECK(m.par.n_eta == 1);
  lmm_parameters_unpack(&m.par, eta + 2, L, got, variance);
  CHECK(distance(got, Sigma, 4) < 1e-15);
}

static void test_no_law(void) {
  model m;
  model_init(&m, 3, 3, split, 1);
  m.sd[1] = HUGE_VAL;
  model_finish(&m);
  CHECK(m.par.n_eta == 3);
  CHECK(m.par.n_no_law == 1 && m.par.no_law[0] == 1);
  CHECK(m.par.n_pair == 2);
  const double eta[3] = {2, 3, 0}, Sigma[9] = {4, 0, 0, 0, 0, 0, 0, 0, 9};
  double L[9], got[9], variance[1];
  lmm_parameters_unpack(&m.par, eta, L, got, variance);
  CHECK(distance(got, Sigma, 9) == 0.0);
}

static void test_blocks(void) {
  model m;
  model_init(&m, 4, 2, two_blocks, 1);
  model_finish(&m);
  CHECK(m.par.n_eta == 7);
  double L[16], Sigma[16], variance[1], again[16], again_variance[1];
  double *eta = random_eta(&m.par), *back = new_doubles(7);
  lmm_parameters_unpack(&m.par, eta, L, Sigma, variance);
  for (int a = 0; a < 2; a++)
    for (int b = 2; b < 4; b++) CHECK(Sigma[a + 4 * b] == 0.0 && Sigma[b + 4 * a] == 0.0);
  lmm_parameters_pack(&m.par, Sigma, variance, back);
  CHECK(distance(back, eta, 7) < 1e-13);
  /* A column of L with the other sign is the same Sigma. */
  eta[2] = -eta[2];
  lmm_parameters_unpack(&m.par, eta, L, again, again_variance);
  CHECK(distance(again, Sigma, 16) == 0.0);
}

/* Singular Sigma, which pack must bear: rank one, and zero. */
static void test_boundary(void) {
  model m;
  model_init(&m, 2, 1, one_block, 1);
  model_finish(&m);
  const double rank1[4] = {4, 6, 6, 9}, zero[4] = {0, 0, 0, 0}, one[1] = {1.0};
  const double expected[4] = {2, 3, 0, 0};
  double eta[4], L[4], back[4], variance[1];
  lmm_parameters_pack(&m.par, rank1, one, eta);
  CHECK(distance(eta, expected, 4) < 1e-15);
  lmm_parameters_pack(&m.par, zero, one, eta);
  lmm_parameters_unpack(&m.par, eta, L, back, variance);
  CHECK(distance(back, zero, 4) == 0.0);
}

/* ---- units ----------------------------------------------------------------------------------- */

/* y halved and doubled in scale, terms 1 and 2 shifted to an intercept: the scaled variable of
 * Z u = sum (Z_k - shift_k) scale_k (T u)_k. */
static void test_units(void) {
  model m;
  model_init(&m, 3, 1, one_block, 1);
  m.stats.scaling.y_scale = 0.5;
  m.stats.scaling.root_weight_scale = 4.0;
  m.intercept[1] = m.intercept[2] = 0;
  m.shift[1] = 3.0;
  m.shift[2] = -7.0;
  m.scale[1] = 2.0;
  m.scale[2] = 0.25;
  model_finish(&m);
  const double z[3] = {1.0, 5.0, 11.0}, u[3] = {0.3, -1.2, 0.7};
  double direct = 0.0, scaled = 0.0, product[9] = {0};
  for (int k = 0; k < 3; k++) {
    double Tu = 0.0;
    for (int l = 0; l < 3; l++) Tu += m.par.T[k + 3 * l] * u[l];
    direct += z[k] * u[k] * m.stats.scaling.y_scale;
    scaled += (z[k] - m.shift[k]) * m.scale[k] * Tu;
    for (int l = 0; l < 3; l++)
      for (int i = 0; i < 3; i++) product[k + 3 * l] += m.par.T[k + 3 * i] * m.par.Ti[i + 3 * l];
    product[4 * k] -= 1.0;
  }
  CHECK_CLOSE(scaled, direct, 1e-14);
  CHECK(largest(product, 9) < 1e-15);

  const double *eta = random_eta(&m.par);
  double L[9], Sigma[9], variance[1], natural[9], sigma[1], back[9] = {0};
  double *jacobian = new_doubles(9 * m.par.n_eta);
  lmm_parameters_unpack(&m.par, eta, L, Sigma, variance);
  lmm_parameters_natural(&m.par, eta, natural, jacobian, sigma);
  for (int i = 0; i < 9; i++) /* T natural T' */
    for (int k = 0; k < 3; k++)
      for (int l = 0; l < 3; l++)
        back[i] += m.par.T[i % 3 + 3 * k] * natural[k + 3 * l] * m.par.T[i / 3 + 3 * l];
  CHECK(distance(back, Sigma, 9) < 1e-13);
  CHECK_CLOSE(sigma[0] * 0.5 * 4.0, sqrt(variance[0]), 1e-15); /* scaled by y and root weight */
}

/* A constant sd in the caller's units comes out as it went in. */
static void test_constant_units(void) {
  model m;
  model_init(&m, 2, 2, split, 1);
  m.stats.scaling.y_scale = 0.125;
  m.scale[0] = 8.0;
  m.sd[0] = 0.3;
  m.sigma[0] = 1.7;
  model_finish(&m);
  const double *eta = random_eta(&m.par);
  double natural[4], sigma[1], *jacobian = new_doubles(4 * m.par.n_eta);
  lmm_parameters_natural(&m.par, eta, natural, jacobian, sigma);
  CHECK_CLOSE(natural[0], 0.09, 1e-15);
  CHECK_CLOSE(sigma[0], 1.7, 1e-15);
}

/* ---- derivatives ----------------------------------------------------------------------------- */

typedef struct {
  const lmm_parameters *par;
  const double *G;
  int natural;
} differentiated;

static void sigma_at(void *ctx, const double *eta, double *out) {
  const differentiated *d = (const differentiated *)ctx;
  double L[16], variance[3], sigma[3];
  if (d->natural) {
    double *jacobian = new_doubles(d->par->q * d->par->q * d->par->n_eta);
    lmm_parameters_natural(d->par, eta, out, jacobian, sigma);
  } else {
    lmm_parameters_unpack(d->par, eta, L, out, variance);
  }
}

/* sum_ab G_ab dSigma_ab / d eta_j, for all j. */
static void slope_at(void *ctx, const double *eta, double *out) {
  const differentiated *d = (const differentiated *)ctx;
  const int size = d->par->q * d->par->q;
  double *jacobian = new_doubles(size * d->par->n_eta);
  lmm_parameters_sigma_jacobian(d->par, eta, jacobian);
  for (int j = 0; j < d->par->n_eta; j++) {
    out[j] = 0.0;
    for (int i = 0; i < size; i++) out[j] += d->G[i] * jacobian[i + size * j];
  }
}

static void check_derivatives(const lmm_parameters *par) {
  const int q = par->q, n = par->n_eta, size = q * q;
  double *G = new_doubles(size), *eta = random_eta(par);
  for (int a = 0; a < q; a++)
    for (int b = 0; b <= a; b++) G[a + q * b] = G[b + q * a] = random_normal();
  double *jacobian = new_doubles(size * n), *curvature = new_doubles(n * n);
  double *natural = new_doubles(size), *jacobian_u = new_doubles(size * n), sigma[3];
  lmm_parameters_sigma_jacobian(par, eta, jacobian);
  lmm_parameters_sigma_curvature(par, eta, G, curvature);
  lmm_parameters_natural(par, eta, natural, jacobian_u, sigma);
  differentiated scaled = {par, G, 0}, user = {par, G, 1};
  double *expected = new_doubles(size > n ? size : n);
  for (int j = 0; j < n; j++) {
    differences(sigma_at, &scaled, eta, n, j, 1e-2, expected, size);
    CHECK(distance(jacobian + size * j, expected, size) < 1e-11);
    differences(sigma_at, &user, eta, n, j, 1e-2, expected, size);
    CHECK(distance(jacobian_u + size * j, expected, size) < 1e-11);
    differences(slope_at, &scaled, eta, n, j, 1e-2, expected, n);
    CHECK(distance(curvature + n * j, expected, n) < 1e-11);
  }
}

static void test_derivatives(void) {
  model m;
  for (int q = 1; q <= 4; q++)
    for (int kind = 0; kind < 4; kind++) { /* which terms have a constant sd */
      model_init(&m, q, 1, one_block, 2);
      m.stats.scaling.y_scale = 0.5;
      m.scale[q - 1] = 4.0;
      for (int k = 0; k < q; k++)
        if (kind == 1 ? k == q - 1 : kind == 2 ? k == 0 : kind == 3) m.sd[k] = 1.0 + k;
      model_finish(&m);
      check_derivatives(&m.par);
      test_free();
    }
  for (int held = 0; held < 4; held++) { /* a constant correlation, and bits of `held` the sds */
    model_init(&m, 4, 2, two_blocks, 1);
    m.cor[1] = 0.7;
    if (held & 1) m.sd[2] = 2.0;
    if (held & 2) m.sd[3] = 0.5;
    model_finish(&m);
    check_derivatives(&m.par);
    test_free();
  }
  model_init(&m, 3, 3, split, 1);
  m.sd[1] = HUGE_VAL;
  model_finish(&m);
  check_derivatives(&m.par);
}

/* A column without variance of its own is emptied, whatever rows have in it, and Sigma stays. */
static void test_round(void) {
  model m;
  for (int zero = 0; zero < 4; zero++) {
    model_init(&m, 4, 1, one_block, 1);
    model_finish(&m);
    double *eta = random_eta(&m.par), L[16], Sigma[16], before[16], variance[1];
    eta[m.par.eta_of_row[zero] + zero] = 1e-12;
    lmm_parameters_unpack(&m.par, eta, L, before, variance);
    lmm_parameters_round(&m.par, 1e-10, eta);
    lmm_parameters_unpack(&m.par, eta, L, Sigma, variance);
    CHECK(distance(Sigma, before, 16) < 1e-11);
    for (int r = 0; r < 4; r++) CHECK(L[r + 4 * zero] == 0.0);
    double *same = copy_doubles(eta, m.par.n_eta); /* there is nothing left to do */
    lmm_parameters_round(&m.par, 1e-10, same);
    CHECK(distance(same, eta, m.par.n_eta) == 0.0);
    test_free();
  }
  model_init(&m, 2, 1, one_block, 1); /* lengths that are held are left alone */
  m.sd[1] = 2.0;
  model_finish(&m);
  double eta[3] = {1e-12, 0.5, 0.0};
  lmm_parameters_round(&m.par, 1e-10, eta);
  CHECK(eta[0] == 1e-12);
  test_free();
}

/* Columns of L have a sign by convention: the same Sigma by the eta that packing it gives. */
static void test_canonical(void) {
  model m;
  for (int held = 0; held < 2; held++) {
    model_init(&m, 3, 1, one_block, 1);
    if (held) m.sd[1] = 2.0;
    model_finish(&m);
    for (int i = 0; i < 20; i++) {
      double *eta = random_eta(&m.par), L[9], Sigma[9], before[9], variance[1];
      double *packed = new_doubles(m.par.n_eta);
      for (int j = 0; j < m.par.n_eta; j++)
        if (random_uniform() < 0.5) eta[j] = -eta[j];
      lmm_parameters_unpack(&m.par, eta, L, before, variance);
      lmm_parameters_canonical(&m.par, variance, eta);
      lmm_parameters_unpack(&m.par, eta, L, Sigma, variance);
      CHECK(distance(Sigma, before, 9) < 1e-13);
      for (int k = 0; k < 3; k++) CHECK(L[4 * k] >= 0.0);
      lmm_parameters_pack(&m.par, Sigma, variance, packed);
      /* From Sigma: by the square of its condition. */
      CHECK(distance(packed, eta, m.par.n_eta) < 1e-6);
    }
    test_free();
  }
}

int main(void) {
  test_free_rows();
  test_constant_sd();
  test_constant_correlation();
  test_no_law();
  test_blocks();
  test_boundary();
  test_units();
  test_constant_units();
  test_derivatives();
  test_round();
  test_canonical();
  test_free();
  return FINISH();
}
