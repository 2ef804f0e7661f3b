#include "mixture_part.h"
#include "mixture/normal.h"
enum { N = 60 };
int main(void) {
  static const covariance_model models[6] = {COVARIANCE_VVV, COVARIANCE_EEE, COVARIANCE_VVI,
                                             COVARIANCE_EEI, COVARIANCE_VII, COVARIANCE_EII};
  for (int m = 0; m < 6; m++)
    for (int gaps = 0; gaps < 2; gaps++)
      for (int d = 1; d <= 3; d += 2) {
        const int k = 2;
        double *Y = new_doubles(N * d);
        for (int i = 0; i < N; i++)
          for (int a = 0; a < d; a++)
            Y[i + N * a] = 3.0 * a + (1.0 + a) * random_normal() + (a ? 0.5 * Y[i] : 0) +
                           (i % 3 == 0 ? 3.0 : 0.0);
        if (gaps)
          for (int i = 0; i < N; i += 4) {
            Y[i + N * ((i / 4) % d)] = NAN;
            if (i % 8 == 0 && d == 3) Y[i + N * ((i / 4 + 1) % d)] = NAN;
          }
        double mean0[3] = {0, 1, 2}, scale0[9] = {0};
        for (int a = 0; a < d; a++) {
          scale0[a * (d + 1)] = 2.0 + a;
          if (a) scale0[a] = scale0[d * a] = 0.3;
        }
        const mixture_normal_spec spec = {.method = MIXTURE_VB,
                                          .k = k,
                                          .n_row = N,
                                          .d = d,
                                          .Y = Y,
                                          .model = models[m],
                                          .prior_df = d + 2.0,
                                          .prior_scale = scale0,
                                          .prior_mean = mean0,
                                          .prior_kappa = 0.2};
        mixture_part part;
        CHECK(mixture_normal_part(&part, &spec, &test_memory) == ELBO_OK);
        int c;
        CHECK(part.prepare(part.work, &c) == ELBO_OK);
        part_test t = part_test_of(part, N, k);
        part_m_step(&t);
        part_gather(&t);
        if (!gaps) part_check_expected(&t, 1e-12);
        part_check_round_trip(&t, 1e-10);
        double *eta = part_eta(&t);
        for (int i = 0; i < part.n_eta; i++) eta[i] *= 1.0 + 0.01 * random_uniform();
        part_move(&t, eta);
        part_check_target(&t, 3e-4, 1e-7);
        part_check_maximum(&t, 1, 3e-5, 1e-7);
        test_free();
      }
  return FINISH();
}
