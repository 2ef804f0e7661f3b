#include "math/normal_tail.h"

#include <math.h>

#include "math/small.h"

#define ROOT_HALF 0.70710678118654752440084436210485

/* Below -2.5: with the continued fraction of Mills' ratio (Laplace), t_j = s + j / t_{j+1}, s = -x,
 *
 *   h = phi / Phi = t_1,  k = h - s = 1 / t_2,  m = 1 / t_3,  n = 1 / t_4,
 *
 * the derivatives -h k and h (k^2 - 1 + h k) = 2 h k^2 m (3 n - 2 m) have no differences of nearly
 * equal terms but a mild one. */
static void tail(double x, double *out) {
  enum { TERMS = 60 };
  const double s = -x;
  double t = s, t_2 = s, t_3 = s, t_4 = s;
  for (int j = TERMS; j >= 1; j--) {
    t = s + j / t;
    if (j == 4) t_4 = t;
    if (j == 3) t_3 = t;
    if (j == 2) t_2 = t;
  }
  const double h = t, k = 1.0 / t_2, m = 1.0 / t_3, n = 1.0 / t_4;
  out[0] = -0.5 * x * x - 0.5 * LOG_2PI - log(h);
  out[1] = h;
  out[2] = -h * k;
  out[3] = 2.0 * h * k * k * m * (3.0 * n - 2.0 * m);
}

void normal_log_cdf(double x, double out[4]) {
  if (x < -2.5) {
    tail(x, out);
    return;
  }
  const double above = 0.5 * erfc(x * ROOT_HALF), cdf = 0.5 * erfc(-x * ROOT_HALF);
  const double h = exp(-0.5 * (x * x + LOG_2PI)) / cdf;
  out[0] = x > 0.0 ? log1p(-above) : log(cdf);
  out[1] = h;
  out[2] = -h * (x + h);
  out[3] = h * ((x + h) * (x + 2.0 * h) - 1.0);
}

/* ---- intervals ------------------------------------------------------------------------------- */

/* Gauss and Legendre's rule on (-1, 1), its positive half (mpmath, 40 digits). */
enum { FEW = 6, MANY = 16 };
static const double few_nodes[FEW] = {0.125233408511468915472, 0.367831498998180193753,
                                      0.587317954286617447297, 0.769902674194304687037,
                                      0.904117256370474856678, 0.981560634246719250691};
static const double few_weights[FEW] = {0.249147045813402785001, 0.233492536538354808761,
                                        0.203167426723065921749, 0.160078328543346226335,
                                        0.10693932599531843096,  0.0471753363865118271946};
static const double many_nodes[MANY] = {
    0.0483076656877383162348, 0.144471961582796493485, 0.239287362252137074545,
    0.33186860228212764978,   0.421351276130635345364, 0.506899908932229390024,
    0.587715757240762329041,  0.663044266930215200975, 0.732182118740289680387,
    0.794483795967942406963,  0.849367613732569970134, 0.896321155766052123965,
    0.934906075937739689171,  0.964762255587506430774, 0.9856115115452683354,
    0.997263861849481563545};
static const double many_weights[MANY] = {
    0.0965400885147278005668, 0.0956387200792748594191, 0.0938443990808045656392,
    0.0911738786957638847129, 0.0876520930044038111428, 0.0833119242269467552222,
    0.0781938957870703064717, 0.0723457941088485062254, 0.0658222227763618468377,
    0.0586840934785355471453, 0.0509980592623761761962, 0.0428358980222266806569,
    0.0342738629130214331027, 0.0253920653092620594558, 0.0162743947309056706052,
    0.00701861000947009660041};

/* z = a + v with v's density exp(-a v - v^2 / 2) on (0, length), by quadrature: moments about the
 * mean have no cancellation in them. */
static void by_quadrature(double a, double width, double *out) {
  const double far = a > -1.0 ? 80.0 / (a + sqrt(a * a + 80.0)) : width; /* exp(-40) */
  const double length = fmin(width, far), fall = a * length + 0.5 * length * length;
  const int few = fabs(fall) < 4.0, n = few ? FEW : MANY;
  const double *node = few ? few_nodes : many_nodes, *weight = few ? few_weights : many_weights;
  double v[2 * MANY], w[2 * MANY], sum = 0.0, mean = 0.0, square = 0.0, cube = 0.0;
  for (int i = 0; i < 2 * n; i++) {
    const int at = i / 2;
    v[i] = 0.5 * length * (i % 2 ? 1.0 + node[at] : 1.0 - node[at]);
    w[i] = 0.5 * length * weight[at] * exp(-v[i] * (a + 0.5 * v[i]));
    sum += w[i];
    mean += w[i] * v[i];
  }
  mean /= sum;
  for (int i = 0; i < 2 * n; i++) {
    const double from = v[i] - mean, part = w[i] / sum * from * from;
    square += part;
    cube += part * from;
  }
  out[0] = log(sum) - 0.5 * (a * a + LOG_2PI);
  out[1] = a + mean;
  out[2] = square - 1.0;
  out[3] = cube;
}

/* From the densities at the ends over P: fine where P is no difference of nearly equal numbers. */
static void by_ends(double a, double b, double *out) {
  const double above = 0.5 * erfc(b * ROOT_HALF);
  const double left_out = 0.5 * erfc(-a * ROOT_HALF) + above;
  const double P = a < 0.0 ? 1.0 - left_out : 0.5 * erfc(a * ROOT_HALF) - above;
  const double at_a = exp(-0.5 * (a * a + LOG_2PI)) / P;
  const double at_b = exp(-0.5 * (b * b + LOG_2PI)) / P;
  const double mean = at_a - at_b, excess = a * at_a - b * at_b;
  out[0] = a < 0.0 ? log1p(-left_out) : log(P);
  out[1] = mean;
  out[2] = excess - mean * mean;
  out[3] = a * a * at_a - b * b * at_b - mean - 3.0 * excess * mean + 2.0 * mean * mean * mean;
}

void normal_log_interval(double a, double width, double out[4]) {
  const int flip = a + 0.5 * width < 0.0;
  const double from = flip ? -(a + width) : a;
  if (width >= 1.0 && from <= 2.0)
    by_ends(from, flip ? -a : a + width, out);
  else
    by_quadrature(from, width, out);
  if (!flip) return;
  out[1] = -out[1];
  out[3] = -out[3];
}
