/* Laws of responses: densities against Rmath and 60 digits, derivatives against differences,
 * expectations against the trapezoidal rule. */
#include <math.h>
#include <string.h>

#include <Rmath.h>

#include "law/response_law.h"
#include "math/quadrature.h"
#include "reference.h"

enum { MOST_OWN = 4, N_LAWS = 9 };

typedef struct {
  response_family family;
  response_link link;
  int n_own;
  double natural[MOST_OWN];
  int n_y;
  double y[4], size[4];
} example;

static const example examples[N_LAWS] = {
    {RESPONSE_GAUSSIAN, RESPONSE_IDENTITY, 1, {0.7}, 3, {-1.5, 0.2, 3.0}, {1, 1, 1}},
    {RESPONSE_GAUSSIAN, RESPONSE_IDENTITY, 0, {1.0}, 2, {0.4, 2.0}, {1, 1}},
    {RESPONSE_BINOMIAL, RESPONSE_LOGIT, 0, {0}, 4, {0, 1, 3, 12}, {1, 1, 5, 12}},
    {RESPONSE_BINOMIAL, RESPONSE_PROBIT, 0, {0}, 4, {0, 1, 3, 12}, {1, 1, 5, 12}},
    {RESPONSE_BINOMIAL, RESPONSE_CLOGLOG, 0, {0}, 4, {0, 1, 3, 12}, {1, 1, 5, 12}},
    {RESPONSE_POISSON, RESPONSE_LOG, 0, {0}, 3, {0, 2, 9}, {1, 1, 1}},
    {RESPONSE_NEGATIVE_BINOMIAL, RESPONSE_LOG, 1, {1.7}, 4, {0, 1, 6, 400}, {1, 1, 1, 1}},
    {RESPONSE_CUMULATIVE, RESPONSE_LOGIT, 3, {-1.0, 0.1, 1.8}, 4, {0, 1, 2, 3}, {1, 1, 1, 1}},
    {RESPONSE_CUMULATIVE, RESPONSE_PROBIT, 3, {-1.0, 0.1, 1.8}, 4, {0, 1, 2, 3}, {1, 1, 1, 1}}};

static void start(response_law *law, const example *e, double *psi) {
  CHECK(response_law_init(law, e->family, e->link, e->n_own, &test_memory) == ELBO_OK);
  response_law_psi(law, e->natural, psi);
  CHECK(response_law_set(law, psi) == ELBO_OK);
  for (int l = 0; l < e->n_own; l++) CHECK_CLOSE(law->natural[l], e->natural[l], 1e-15);
}

static double cumulative(const example *e, int j, double x) {
  if (j < 0 || j >= e->n_own) return j < 0 ? 0.0 : 1.0;
  const double bound = e->natural[j] - x;
  return e->link == RESPONSE_LOGIT ? plogis(bound, 0, 1, 1, 0) : pnorm5(bound, 0, 1, 1, 0);
}

/* Row i of an example at x, by R's functions. */
static double reference(const example *e, int i, double x) {
  const double y = e->y[i], size = e->size[i];
  switch (e->family) {
    case RESPONSE_GAUSSIAN:
      return dnorm4(y, x, e->natural[0], 1);
    case RESPONSE_BINOMIAL:
      if (e->link == RESPONSE_CLOGLOG)
        return lchoose(size, y) + y * pexp(exp(x), 1, 1, 1) + (size - y) * pexp(exp(x), 1, 0, 1);
      return dbinom(y, size,
                    e->link == RESPONSE_LOGIT ? plogis(x, 0, 1, 1, 0) : pnorm5(x, 0, 1, 1, 0), 1);
    case RESPONSE_POISSON:
      return dpois(y, exp(x), 1);
    case RESPONSE_NEGATIVE_BINOMIAL:
      return dnbinom_mu(y, e->natural[0], exp(x), 1);
    default:
      return log(cumulative(e, (int)y, x) - cumulative(e, (int)y - 1, x));
  }
}

static void test_density(void) {
  for (int i = 0; i < N_LAWS; i++) {
    response_law law;
    double psi[MOST_OWN];
    start(&law, examples + i, psi);
    for (int j = 0; j < examples[i].n_y; j++)
      for (double x = -3.0; x < 3.1; x += 0.75) {
        const response_rows row = {1, examples[i].y + j, examples[i].size + j, NULL};
        double value;
        response_law_at(&law, &row, &x, &(response_values){.value = &value});
        value += response_law_constant(&law, &row);
        CHECK_CLOSE(value, reference(examples + i, j, x), 3e-12);
      }
    test_free();
  }
}

/* The precision of a gaussian row, and the weight of another. */
static void test_weights(void) {
  const double y = 1.3, weight = 4.0, x = 0.5;
  const response_rows row = {1, &y, NULL, &weight};
  response_law law;
  double psi[MOST_OWN], value;
  start(&law, examples, psi);
  response_law_at(&law, &row, &x, &(response_values){.value = &value});
  CHECK_CLOSE(value + response_law_constant(&law, &row), dnorm4(1.3, 0.5, 0.35, 1), 1e-14);
  start(&law, examples + 5, psi);
  const double count = 3.0;
  const response_rows counts = {1, &count, NULL, &weight};
  response_law_at(&law, &counts, &x, &(response_values){.value = &value});
  CHECK_CLOSE(value + response_law_constant(&law, &counts), 4.0 * dpois(3, exp(0.5), 1), 1e-13);
  test_free();
}

/* ---- derivatives ----------------------------------------------------------------------------- */

typedef struct {
  response_law *law;
  response_rows row;
} one_row;

/* (x, psi) to value, x, xx and by psi (own, x_own, xx_own). */
static void all_at(void *ctx, const double *at, double *out) {
  one_row *one = (one_row *)ctx;
  const int n_own = one->law->n_own;
  CHECK(response_law_set(one->law, at + 1) == ELBO_OK);
  const response_values values = {
      .value = out, .x = out + 1, .xx = out + 2, .own = out + 3, .x_own = out + 3 + n_own};
  response_law_at(one->law, &one->row, at, &values);
  out[0] += response_law_constant(one->law, &one->row);
}

static void check_row(one_row *one, double x, const double *psi) {
  const int n = one->law->n_own, size = 3 + 2 * n;
  double at[1 + MOST_OWN] = {x}, by[3 + 2 * MOST_OWN], xxx, xx_own[MOST_OWN];
  double own_own[MOST_OWN * (MOST_OWN + 1) / 2], own[MOST_OWN], x_own[MOST_OWN], values[3];
  const response_values out = {.value = values,
                               .x = values + 1,
                               .xx = values + 2,
                               .xxx = &xxx,
                               .own = own,
                               .own_own = own_own,
                               .x_own = x_own,
                               .xx_own = xx_own};
  memcpy(at + 1, psi, (size_t)n * sizeof(double));
  response_law_at(one->law, &one->row, at, &out);
  differences(all_at, one, at, 1 + n, 0, 1e-2, by, size);
  CHECK_CLOSE(values[1], by[0], 1e-9);
  CHECK_CLOSE(values[2], by[1], 1e-9);
  CHECK_CLOSE(xxx, by[2], 1e-9);
  for (int l = 0; l < n; l++) {
    differences(all_at, one, at, 1 + n, 1 + l, 1e-2, by, size);
    CHECK_CLOSE(own[l], by[0], 1e-9);
    CHECK_CLOSE(x_own[l], by[1], 1e-9);
    CHECK_CLOSE(xx_own[l], by[2], 1e-9);
    for (int m = 0; m <= l; m++) CHECK_CLOSE(own_own[l * (l + 1) / 2 + m], by[3 + m], 1e-9);
  }
  CHECK(response_law_set(one->law, psi) == ELBO_OK);
}

static void test_derivatives(void) {
  for (int i = 0; i < N_LAWS; i++) {
    one_row one;
    response_law law;
    double psi[MOST_OWN];
    start(&law, examples + i, psi);
    one.law = &law;
    for (int j = 0; j < examples[i].n_y; j++)
      for (double x = -4.0; x < 4.1; x += 1.0) {
        one.row = (response_rows){1, examples[i].y + j, examples[i].size + j, NULL};
        check_row(&one, x, psi);
        test_free();
        start(&law, examples + i, psi);
      }
    test_free();
  }
}

/* ---- extremes -------------------------------------------------------------------------------- */

static int near(double got, double want, double tol) {
  return fabs(got - want) <= tol * fabs(want);
}

/* mpmath 1.3.0 (Python), 60 digits: log(1 - exp(-e^x)) and its derivatives. */
static void test_cloglog(void) {
  static const double known[][5] = {
      {-50, -50.000000000000000, 1.0000000000000000, -9.6437492398195889e-23,
       -9.6437492398195889e-23},
      {-9, -9.0000617042674609, 0.99993829636712164, -6.1702363713383611e-5,
       -6.1699825383430025e-5},
      {-0.8, -1.0162662354982694, 0.79210388438313069, -0.19123989711481296, -0.15826175938208237},
      {-0.6, -0.86188740875828581, 0.75056859926490458, -0.22470540390095031, -0.17599160400389291},
      {0, -0.45867514538708189, 0.58197670686932642, -0.33869688733846589, -0.18774930862906314},
      {1.5, -0.011378779845083259, 0.051287393871955451, -0.18119715546028783, 0.41960426294150460},
      {4, -1.9423376049564018e-24, 1.0604803997042767e-22, -5.6839787570558596e-21,
       2.9886071940885838e-19}};
  response_law law;
  response_point at;
  CHECK(response_law_init(&law, RESPONSE_BINOMIAL, RESPONSE_CLOGLOG, 0, &test_memory) == ELBO_OK);
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    law.point(&law, 1.0, 1.0, known[i][0], &at);
    const double got[4] = {at.value, at.x, at.xx, at.xxx};
    for (int k = 0; k < 4; k++) CHECK(near(got[k], known[i][1 + k], 5e-14));
  }
  law.point(&law, 1.0, 1.0, -800.0, &at); /* e^x is zero */
  CHECK(at.value == -800.0 && at.x == 1.0 && at.xx == 0.0 && at.xxx == 0.0);
  law.point(&law, 1.0, 1.0, 800.0, &at); /* and infinite */
  CHECK(at.value == 0.0 && at.x == 0.0 && at.xx == 0.0 && at.xxx == 0.0);
}

/* y, k, x; mpmath, 90 digits: value, x, xx, xxx, own, own_own, x_own, xx_own.  Errors relative to y
 * + mu, which is what is added up. */
static void test_negative_binomial(void) {
  static const double known[][11] = {
      {0, 0.5, -1, -0.27572235696602554, -0.21194155761708545, -0.12210310992677275,
       -0.018588216695691051, -0.063780799348940099, 0.026057648341372599, -0.089838447690312699,
       -0.10351489323108169},
      {3, 1e-6, 2, -14.914137568149524, -5.9399406990180623e-7, -4.0600587515127366e-7,
       4.0600576525744831e-7, 0.99998627848212660, -1.2721519339117977e-5, -5.9399398951346142e-7,
       -4.0600590059269492e-7},
      {7, 1e8, 1.5, -2.5068504346940300, 2.5183108167990745, -4.4816889823455602,
       -4.4816885806348476, 3.2905513489923259e-9, -3.2905523902583395e-9, 1.1286285557546311e-7,
       -8.7992505769312592e-8},
      {300, 2.5, 5, -6.9851774189408354, 2.5111600903269954, -4.9281461218943142,
       4.7648685736937420, -0.24401759193521542, -0.78787334620202650, 2.4695606680953638,
       -4.8055970540399760},
      {1000, 50, 7, -6.0938125974189033, -4.2137783003284651, -43.789671130593942,
       39.970692862896646, 0.28964180624134910, -0.19564670651701205, -4.0300325979931278,
       -42.055915297686833},
      {5000, 1e7, 8.5, -5.9122360753529616, 85.189291133506612, -4912.3963796007274,
       -4907.5700930774573, -0.00011298363461868420, 0.00011274994351890788, 0.041848000034353194,
       -2.3713158188219547},
      {2, 3, -30, -60.405465108108320, 1.9999999999998440, -1.5596038281399318e-13,
       -1.5596038281398345e-13, -0.24999999999993762, 0.18749999999993762, 6.2384153125594353e-14,
       6.2384153125587543e-14},
      {2, 3, 40, -114.91240366476762, -2.9999999999999999, -6.3725313829373833e-17,
       6.3725313829373832e-17, -111.95416313399567, -110.51666313399567, -2.9999999999999999,
       -1.0196050212699813e-16}};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    const double *want = known[i] + 3, size = known[i][0] + fmin(1e4, exp(known[i][2]));
    const response_rows row = {1, known[i], NULL, NULL};
    response_law law;
    double psi, got[8];
    CHECK(response_law_init(&law, RESPONSE_NEGATIVE_BINOMIAL, RESPONSE_LOG, 1, &test_memory) ==
          ELBO_OK);
    response_law_psi(&law, known[i] + 1, &psi);
    CHECK(response_law_set(&law, &psi) == ELBO_OK);
    const response_values out = {.value = got,
                                 .x = got + 1,
                                 .xx = got + 2,
                                 .xxx = got + 3,
                                 .own = got + 4,
                                 .own_own = got + 5,
                                 .x_own = got + 6,
                                 .xx_own = got + 7};
    response_law_at(&law, &row, known[i] + 2, &out);
    got[0] += response_law_constant(&law, &row);
    for (int k = 0; k < 8; k++)
      CHECK(fabs(got[k] - want[k]) <= 1e-13 * fabs(want[k]) + 4e-15 * (1.0 + size));
  }
  test_free();
}

/* Far out a binomial log density is x or 0, and its derivatives are those of that. */
static void test_far(void) {
  static const response_link links[] = {RESPONSE_LOGIT, RESPONSE_PROBIT};
  for (int i = 0; i < 2; i++) {
    response_law law;
    response_point at;
    CHECK(response_law_init(&law, RESPONSE_BINOMIAL, links[i], 0, &test_memory) == ELBO_OK);
    for (double x = 50.0; x < 1e6; x *= 7.0) {
      law.point(&law, 1.0, 1.0, x, &at);
      CHECK(at.value <= 0.0 && at.value > -1e-20 && at.x >= 0.0 && at.x < 1e-20);
      law.point(&law, 0.0, 1.0, x, &at);
      CHECK(isfinite(at.value) && at.value < -49.0 && at.x < 0.0 && at.xx <= 0.0);
      CHECK(near(at.x, i ? -x : -1.0, 1e-3));
    }
  }
  test_free();
}

/* Steps of 1e-9 between thresholds: density times step, to all digits. */
static void test_narrow(void) {
  static const response_link links[] = {RESPONSE_LOGIT, RESPONSE_PROBIT};
  for (int i = 0; i < 2; i++) {
    response_law law;
    const double psi[2] = {0.3, log(1e-9)};
    response_point at;
    CHECK(response_law_init(&law, RESPONSE_CUMULATIVE, links[i], 2, &test_memory) == ELBO_OK);
    CHECK(response_law_set(&law, psi) == ELBO_OK);
    for (double x = -30.0; x < 31.0; x += 6.0) {
      const double middle = 0.3 + 0.5e-9 - x;
      law.point(&law, 1.0, 1.0, x, &at);
      CHECK(
          near(at.value, psi[1] + (i ? dnorm4(middle, 0, 1, 1) : dlogis(middle, 0, 1, 1)), 1e-14));
      if (i) CHECK(near(at.x, middle, 1e-14) && near(at.xx, -1.0, 1e-14));
    }
  }
  test_free();
}

/* ---- expectations ---------------------------------------------------------------------------- */

enum { NODES = 120 };

typedef struct {
  response_law *law;
  response_rows row;
  response_rule rule;
} under_normal;

/* The trapezoidal rule on 12 sds either side. */
static double by_trapezoid(const under_normal *u, double mean, double sd) {
  const double h = 0.01;
  double sum = 0.0;
  for (int q = -1200; q <= 1200; q++) {
    const double z = q * h, x = mean + sd * z;
    double value;
    response_law_at(u->law, &u->row, &x, &(response_values){.value = &value});
    sum += h * 0.398942280401432678 * exp(-0.5 * z * z) * value;
  }
  return sum;
}

/* (mean, sd, psi) to value, m, s and by psi. */
static void expect_at(void *ctx, const double *at, double *out) {
  under_normal *u = (under_normal *)ctx;
  response_expectation e;
  CHECK(response_law_set(u->law, at + 2) == ELBO_OK);
  const response_expected_own own = {.own = out + 3};
  response_law_expect(u->law, &u->row, &u->rule, at, at + 1, &e, &own);
  out[0] = e.value + response_law_constant(u->law, &u->row);
  out[1] = e.m;
  out[2] = e.s;
}

static void check_expectation(under_normal *u, double mean, double sd, const double *psi) {
  const int n = u->law->n_own, size = 3 + n;
  double at[2 + MOST_OWN] = {mean, sd}, by_m[3 + MOST_OWN], by_s[3 + MOST_OWN];
  double own[MOST_OWN], packed[MOST_OWN * (MOST_OWN + 1) / 2], m_own[MOST_OWN], s_own[MOST_OWN];
  response_expectation e;
  const response_expected_own by_psi = {own, packed, m_own, s_own};
  memcpy(at + 2, psi, (size_t)n * sizeof(double));
  response_law_expect(u->law, &u->row, &u->rule, &mean, &sd, &e, &by_psi);
  CHECK_CLOSE(e.value, by_trapezoid(u, mean, sd), 1e-11);
  differences(expect_at, u, at, 2 + n, 0, 1e-2, by_m, size);
  differences(expect_at, u, at, 2 + n, 1, 1e-2, by_s, size);
  CHECK_CLOSE(e.m, by_m[0], 1e-9);
  CHECK_CLOSE(e.s, by_s[0], 1e-9);
  CHECK_CLOSE(e.mm, by_m[1], 1e-9);
  CHECK_CLOSE(e.ms, by_s[1], 1e-9);
  CHECK_CLOSE(e.ss, by_s[2], 1e-9);
  for (int l = 0; l < n; l++) {
    double by_l[3 + MOST_OWN];
    differences(expect_at, u, at, 2 + n, 2 + l, 1e-2, by_l, size);
    CHECK_CLOSE(own[l], by_l[0], 1e-9);
    CHECK_CLOSE(m_own[l], by_l[1], 1e-9);
    CHECK_CLOSE(s_own[l], by_l[2], 1e-9);
    for (int k = 0; k <= l; k++) CHECK_CLOSE(packed[l * (l + 1) / 2 + k], by_l[3 + k], 1e-9);
  }
}

static void test_expectation(void) {
  static const double means[] = {-1.5, 0.3, 2.0}, sds[] = {0.0, 0.3, 1.2};
  static double node[NODES], weight[NODES], scaled[NODES], work[2 * NODES];
  CHECK(quadrature_normal(NODES, node, weight, scaled, work) == ELBO_OK);
  for (int i = 0; i < N_LAWS; i++)
    for (int j = 0; j < examples[i].n_y; j++)
      for (int k = 0; k < 9; k++) {
        response_law law;
        double psi[MOST_OWN];
        start(&law, examples + i, psi);
        under_normal u = {
            &law, {1, examples[i].y + j, examples[i].size + j, NULL}, {NODES, node, weight}};
        check_expectation(&u, means[k % 3], sds[k / 3], psi);
        test_free();
      }
}

/* What is no law is refused. */
static void test_refused(void) {
  response_law law;
  const double overflow = 1e4;
  CHECK(response_law_init(&law, RESPONSE_POISSON, RESPONSE_LOGIT, 0, &test_memory) != ELBO_OK);
  CHECK(response_law_init(&law, RESPONSE_BINOMIAL, RESPONSE_LOG, 0, &test_memory) != ELBO_OK);
  CHECK(response_law_init(&law, RESPONSE_CUMULATIVE, RESPONSE_LOGIT, 0, &test_memory) != ELBO_OK);
  CHECK(response_law_init(&law, RESPONSE_GAUSSIAN, RESPONSE_IDENTITY, 1, &test_memory) == ELBO_OK);
  CHECK(response_law_set(&law, &overflow) != ELBO_OK);
  test_free();
}

int main(void) {
  test_density();
  test_weights();
  test_derivatives();
  test_cloglog();
  test_negative_binomial();
  test_far();
  test_narrow();
  test_expectation();
  test_refused();
  test_free();
  return FINISH();
}
