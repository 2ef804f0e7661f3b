/* Climbing from several starts, on a function with two maxima that are known. */
#include "engine/multistart.h"
#include "reference.h"

/* f'(x) = -(x + 1)(x - 1/5)(x - 2): maxima f(-1) = 0.65 and f(2) = 2, a minimum at 1/5. */
static double two_humps(double x) {
  return -(x * x * x * x / 4.0 - 0.4 * x * x * x - 0.9 * x * x + 0.4 * x);
}

static elbo_status no_step(void *work) {
  (void)work;
  return ELBO_OK;
}

static elbo_status value_of(void *work, double *value) {
  *value = two_humps(*(double *)work);
  return ELBO_OK;
}

static elbo_status hessian_of(void *work, double *value, double *gradient, double *hessian) {
  const double x = *(double *)work;
  *value = two_humps(x);
  *gradient = -(x + 1.0) * (x - 0.2) * (x - 2.0);
  *hessian = -(3.0 * x * x - 2.4 * x - 1.8);
  return ELBO_OK;
}

static void pack(void *work, double *eta) { *eta = *(double *)work; }

static elbo_status unpack(void *work, const double *eta) {
  *(double *)work = *eta;
  return ELBO_OK;
}

static const elbo_model model = {.n_eta = 1,
                                 .e_name = ELBO_STEP_E,
                                 .m_name = ELBO_STEP_M,
                                 .e_step = no_step,
                                 .m_step = no_step,
                                 .elbo = value_of,
                                 .objective = {.value = value_of, .hessian = hessian_of},
                                 .schedule = {.em_first = 5,
                                              .em_until = HUGE_VAL,
                                              .second_order = ELBO_SECOND_ORDER_DENSE},
                                 .pack = pack,
                                 .unpack = unpack};

typedef struct {
  int starts, polls;
} counts;

static void count_starts(void *ctx, int iteration, elbo_step step, double elbo, double evidence,
                         double kl) {
  (void)iteration, (void)elbo, (void)evidence, (void)kl;
  ((counts *)ctx)->starts += step == ELBO_STEP_START;
}

static int count_polls(void *ctx) {
  ((counts *)ctx)->polls++;
  return 0;
}

static elbo_status climb(int n_climbs, int n_points, const double *eta, double *value, double *x,
                         counts *told) {
  const elbo_control control = {.accelerate = ELBO_ACCELERATE_AUTO, .max_iter = 100, .tol = 1e-9};
  const elbo_hooks hooks = {count_polls, count_starts, told};
  elbo_result result;
  double *memory = new_doubles((int)elbo_ascend_size(&model));
  const elbo_status status =
      elbo_multistart(&model, x, &control, &hooks, n_climbs, n_points, eta, value, memory, &result);
  if (status == ELBO_OK) CHECK_CLOSE(result.objective, two_humps(*x), 1e-14);
  test_free();
  return status;
}

/* The highest start leads to the lower maximum; the next one to the higher. */
static void test_several(void) {
  static const double eta[3] = {0.5, -0.9, 4.0};
  static const double end[3] = {-1.0, 2.0, 2.0};
  for (int n_climbs = 1; n_climbs <= 3; n_climbs++) {
    double value[3], x = 0.0;
    counts told = {0, 0};
    for (int i = 0; i < 3; i++) value[i] = two_humps(eta[i]);
    CHECK(value[1] > value[0] && value[0] > value[2]);
    CHECK(climb(n_climbs, 3, eta, value, &x, &told) == ELBO_OK);
    CHECK_CLOSE(x, end[n_climbs - 1], 1e-8);
    CHECK(told.starts == 1 && told.polls > 0); /* only the last climb is traced */
  }
}

/* Starts without an objective are left out, also where more climbs are asked for than there are. */
static void test_none(void) {
  static const double eta[2] = {3.0, -0.9};
  double x = 0.0, none[2] = {-HUGE_VAL, -HUGE_VAL}, one[2] = {-HUGE_VAL, 0.6};
  counts told = {0, 0};
  CHECK(climb(2, 2, eta, one, &x, &told) == ELBO_OK);
  CHECK_CLOSE(x, -1.0, 1e-8);
  for (int n_climbs = 1; n_climbs <= 2; n_climbs++)
    CHECK(climb(n_climbs, 2, eta, none, &x, &told) == ELBO_E_NOT_FINITE);
}

int main(void) {
  test_several();
  test_none();
  return FINISH();
}
