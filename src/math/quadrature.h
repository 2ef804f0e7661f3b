/* Gauss's rules, of any number of nodes. */
#ifndef ELBO_MATH_QUADRATURE_H
#define ELBO_MATH_QUADRATURE_H

#include "math/status.h"

/* E f(z), z ~ N(0, 1), is about the sum of weight_i f(node_i): exact for polynomials to degree
 * 2 n - 1.  Nodes ascend, symmetric about 0.  scaled_i = weight_i / density(node_i), which neither
 * under- nor overflows: the integral of f over the line is about the sum of scaled_i f(node_i).
 * work: 2 n doubles.  Relative errors of weights below 1e-13 for n <= 1000 (tested). */
elbo_status quadrature_normal(int n, double *node, double *weight, double *scaled, double *work);
/* The integral over (-1, 1): Gauss and Legendre's. */
void quadrature_interval(int n, double *node, double *weight);

#endif
