/* Finite mixtures.  Unit i belongs to component z_i of k; given z_i = j its rows have log density
 * l_ij, a sum over parts:
 *
 *   log p(y_i, z_i = j | theta) = sum over parts of l_ij(part)
 *
 * The first part is the law of z, the weights; the others are laws of responses.  A part knows its
 * parameters, its sufficient statistics and how to maximise over its parameters given them; the
 * mixture knows responsibilities r_ij = q(z_i = j), and the objective
 *
 *   ELBO = sum_ij freq_i r_ij (l_ij - log r_ij) + sum over parts of log prior.
 *
 * Under vb a part holds the parameters of its factor q(theta) of an exponential family instead:
 * l_ij is E_q[log p], and "log prior" is -KL(q(theta) || p(theta)).  The E-step is the same
 * code. */
#ifndef ELBO_MIXTURE_MIXTURE_H
#define ELBO_MIXTURE_MIXTURE_H

#include "engine/engine.h"
#include "mixture/arguments.h"

typedef enum { MIXTURE_JOINT = 0, MIXTURE_EM, MIXTURE_VB } mixture_method;

/* Rows of a unit are consecutive.  first[i] is the first row of unit i (n_unit + 1 of them), or
 * first is NULL: every row is a unit.  freq[i] copies of unit i, or NULL: one. */
typedef struct {
  int n_unit;
  int n_row;
  const int *first;
  const double *freq;
} mixture_units;

/* A run of whole units.  `ld` is the number of rows (or of units, which are no more) rounded up to
 * a multiple of SIMD_LANES: the leading dimension of every array of the chunk. */
typedef struct {
  int unit, n_unit; /* first unit, and how many */
  int row, n_row;   /* first row, and how many */
  int ld;
} mixture_chunk;

/* An array of parameters, last index the component where by_component. */
typedef struct {
  const char *name;
  double *value;
  int n_dim, dim[3];
  int by_component;
} mixture_field;

enum { MIXTURE_MAX_FIELDS = 8 };

static inline size_t mixture_field_size(const mixture_field *field) {
  size_t size = 1;
  for (int i = 0; i < field->n_dim; i++) size *= (size_t)field->dim[i];
  return size;
}

/* A part of the model.  Every function but those marked may not be NULL.
 *
 * Between calls of m_step, unpack or restore and the next of anything else, `prepare` is called. */
typedef struct {
  void *work;
  int by_unit;   /* l_ij comes by unit, not by row */
  int readings;  /* of the rows when the part was made */
  int keeps_r;   /* m_step, expected, gradient, target need r itself: statistics do not suffice */
  size_t n_stat; /* doubles of sufficient statistics, all components together */
  size_t n_scratch; /* doubles of scratch for a chunk of `ld` rows: n_scratch * ld */
  int n_eta;        /* free parameters; under vb natural parameters of q */
  int n_theta;      /* entries of theta() */
  int n_field;
  mixture_field field[MIXTURE_MAX_FIELDS];

  /* After the fields were written from outside: what is held besides them.  May be NULL. */
  elbo_status (*restore)(void *work, int *component);
  /* em: what fades towards the boundary of the parameter space, or is within rounding of it, and is
   * no better off it, is put onto it; 1 if anything moved.  stat and r are of the present
   * parameters.  May be NULL. */
  int (*settle)(void *work, const double *stat, const double *r);
  /* Factors and constants from the fields.  ELBO_E_UNBOUNDED where a component has collapsed
   * (*component says which), ELBO_E_NOT_PD outside of the parameter space. */
  elbo_status (*prepare)(void *work, int *component);
  /* out[i + ld * j] += l_ij for the rows (or units) of a chunk.  What is beyond n_row may be
   * written, but must stay finite.  Called by several threads at once: work is only read. */
  void (*log_density)(const void *work, const mixture_chunk *chunk, double *scratch, double *out);
  /* stat += statistics of the chunk under r[i + ld * j] = freq_i r_ij, zero beyond the chunk's rows
   * (or units).  By several threads at once, each with its own stat. */
  void (*accumulate)(const void *work, const mixture_chunk *chunk, const double *r, double *scratch,
                     double *stat);
  /* After the sums over chunks: what the statistics refer to (a centre, say) is written into them.
   * May be NULL. */
  void (*finish)(const void *work, double *stat);
  /* The parameters that maximise `expected` + log prior; coordinate steps that raise it will do.
   * r (n_unit x k, freq_i r_ij) is NULL unless keeps_r. */
  elbo_status (*m_step)(void *work, const double *stat, const double *r, int *component);
  /* sum_ij freq_i r_ij l_ij at the present parameters; stat may come from earlier ones.  Where
   * responses are missing, of the complete data, expected under their laws given the rest as the
   * statistics have them. */
  elbo_status (*expected)(const void *work, const double *stat, const double *r, double *value);
  double (*log_prior)(const void *work); /* log p(theta); vb: -KL(q || p) */
  /* How far `expected` and the sum of log densities may be off because of differences within their
   * terms, as where residuals are small beside responses.  May be NULL: not at all. */
  double (*rounding)(const void *work, const double *stat);

  /* Free parameters, in coordinates without constraint (em), or natural parameters of q (vb).
   * unpack says ELBO_E_NOT_PD outside of the parameter space. */
  void (*pack)(const void *work, double *eta);
  elbo_status (*unpack)(void *work, const double *eta);
  /* Charts that are local (of rotations) are centred at the present parameters.  May be NULL. */
  void (*anchor)(void *work);
  /* em: gradient of expected + log prior by eta, at the parameters that the statistics were
   * gathered at.  NULL under joint and vb. */
  elbo_status (*gradient)(void *work, const double *stat, const double *r, double *gradient);
  /* em: what a row (or unit) adds to the statistics of component l where r_il is one, whichever l,
   * when they are gathered as those of component j are: out[i + ld * b] for entry n_basis l + b;
   * finite beyond n_row.  `refer` writes into statistics that they were so gathered (NULL: there
   * is nothing to say).  With a basis, `gradient` is affine in the statistics and is right at any
   * parameters.  NULL: the row's part depends on l, or needs r. */
  int n_basis;
  void (*basis)(const void *work, const mixture_chunk *chunk, int j, double *scratch, double *out);
  void (*refer)(const void *work, int j, double *stat);
  /* em: out[i + ld * a] += derivative by eta_a of sum_j r_ij l_ij of each unit of a chunk, r as in
   * accumulate, by several threads at once.  NULL: `gradient` is affine in the statistics, which
   * tell it. */
  void (*scores)(const void *work, const mixture_chunk *chunk, const double *r, double *scratch,
                 double *out);
  /* vb: natural parameters at which each factor of q would be at its best given the other factors
   * as they are (all at once, none updated before another), and the expected sufficient statistics
   * of q, m = E_q[T].  NULL under em. */
  elbo_status (*target)(void *work, const double *stat, const double *r, double *eta);
  void (*moments)(const void *work, double *m);
  /* theta on the natural scale; under vb E_q of it. */
  void (*theta)(const void *work, double *theta);
} mixture_part;

enum { MIXTURE_MAX_PARTS = 8 };

typedef struct {
  mixture_method method;
  int k;
  int threads;
  mixture_units units;
  int n_part;
  mixture_part part[MIXTURE_MAX_PARTS];
} mixture_spec;

/* A part from its arguments: what a law is in the table of call/mixture.c.  ELBO_E_DIM where these
 * do not fit each other. */
typedef elbo_status mixture_maker(mixture_part *part, const mixture_spec *s,
                                  const mixture_arguments *from, const elbo_memory *mem);

/* What one pass over the data leaves: the laws of all z, at the parameters of that moment. */
typedef struct {
  double *stat; /* statistics of all parts, one after the other */
  double *r;    /* n_unit x k: freq_i r_ij; NULL unless a part keeps it */
  double *size; /* k: sum_i freq_i r_ij */
  double value; /* sum_i freq_i log sum_j exp l_ij; joint: of the largest l_ij */
} mixture_pass;

/* What the sum of outer products of scores is gathered from, and in. */
typedef struct {
  int n_raw;             /* entries of a unit's statistics, or of its score, of all parts */
  int n_chunk, n_slot;   /* which chunks: see mixture/metric.c; n_chunk = 0: no metric */
  double *sum;           /* n_raw x n_raw x n_slot */
  double *block, *unit;  /* by thread: n_raw x ld, and memory of one unit */
  double *stat, *column; /* n_stat, n_eta: one column */
  double *half;          /* n_eta x n_raw */
  size_t unit_size;
} mixture_metric;

/* What the observed information is gathered from, and in. */
typedef struct {
  int n_basis, n_slot;              /* of all parts, 0: not known; see mixture/observed.c */
  double *sum;                      /* n_basis x n_basis x pairs x n_slot */
  double *basis, *shared;           /* by thread: n_basis x ld */
  double *root;                     /* by thread: ld */
  int *which;                       /* by thread: ld */
  double *stat, *at, *out, *column; /* of one part: statistics, and three vectors */
  double *D, *none, *half;          /* n_eta x n_basis, n_eta, n_basis */
} mixture_observed_work;

typedef struct {
  mixture_spec spec;
  int n_eta, n_theta;
  size_t n_stat, n_scratch, stat_at[MIXTURE_MAX_PARTS];
  int n_chunk, largest_ld, n_slot;
  mixture_chunk *chunk;
  int *slot_first;        /* n_slot + 1: chunks of a slot */
  double *slot_stat;      /* n_slot x (n_stat + k + 1) */
  double *thread_scratch; /* threads x n_scratch */
  mixture_pass q, next;   /* q: that the E-step holds; next: for looking elsewhere */
  mixture_pass *here;     /* the one of them at the present parameters, or NULL */
  double entropy;         /* of q */
  double size;            /* of the objective when it was last asked for */
  int second_order;       /* second derivatives are worth their cost while fitting */
  double *eta, *at, *h;   /* n_eta: where differences are taken, a scratch, and their steps */
  double *low, *high;     /* largest of n_eta, n_theta: values on both sides */
  double *V;              /* n_eta x n_eta: dm / deta; NULL unless vb and second_order */
  double *by_component;   /* k of scratch */
  double *kept;           /* all fields, while settling */
  mixture_metric metric;
  mixture_observed_work observed;
  double passes; /* times the units were read */
  int component; /* which one collapsed, or -1 */
  int part;      /* in which part */
} mixture;

elbo_status mixture_init(mixture *w, const mixture_spec *spec, const elbo_memory *mem);
/* Parameters from a partition: label (1..k by unit), or probability (n_unit x k); then one
 * M-step. */
elbo_status mixture_start(mixture *w, const int *label, const double *probability);
/* After the fields were written from outside. */
elbo_status mixture_restore(mixture *w);
/* Components in the given order: new component j is old order[j]. */
elbo_status mixture_permute(mixture *w, const int *order);
/* log_density (n_unit) = log sum_j exp l_ij and probability (n_unit x k) at the present
 * parameters. */
void mixture_posterior(mixture *w, double *log_density, double *probability);
/* The slope of the objective at the present parameters, with the laws of z at their best.
 *   em: its gradient by eta.
 *   vb: eta* - eta, eta* the natural parameters at which each factor would be at its best (the
 *       natural gradient). */
elbo_status mixture_slope(mixture *w, double *out);
/* Gradient (n_eta) and Hessian (n_eta x n_eta) of the objective by eta, and the Jacobian of theta
 * (n_theta x n_eta).  V: n_eta x n_eta of scratch under vb, else NULL. */
elbo_status mixture_information(mixture *w, double *gradient, double *hessian, double *V,
                                double *jacobian);
void mixture_theta(const mixture *w, double *theta);
/* log p(theta); vb: -KL(q || p) of the parameters. */
double mixture_log_prior(const mixture *w);
elbo_model mixture_model(const mixture *w);

#endif
