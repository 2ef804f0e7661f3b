/* Entry points of catalogues.  `model` is the list that R's sky_model() makes: images, each a list
 * named as the members of sky_image, and the sources as they are. */
#include <math.h>
#include <string.h>

#include "call/support.h"
#include "math/small.h"
#include "sky/detect.h"
#include "sky/em.h"
#include "sky/information.h"
#include "sky/local.h"
#include "sky/psf.h"
#include "sky/quality.h"
#include "sky/vb.h"

/* ---- the model ------------------------------------------------------------------------------- */

static sky_psf unpack_psf(SEXP list) {
  sky_psf psf;
  psf.n = (int)Rf_xlength(call_element(list, "weight"));
  if (psf.n < 1 || psf.n > SKY_MAX_PSF) Rf_error("internal error: too many normals of a `psf`");
  psf.weight = call_doubles(list, "weight", psf.n, 0);
  psf.mean = call_doubles(list, "mean", 2 * (R_xlen_t)psf.n, 0);
  psf.covariance = call_doubles(list, "covariance", 3 * (R_xlen_t)psf.n, 0);
  for (int k = 0; k < psf.n; k++) {
    const double *C = psf.covariance + 3 * k;
    if (!(C[0] > 0.0 && C[0] * C[2] - C[1] * C[1] > 0.0))
      Rf_error("internal error: a normal of `psf` has no density");
  }
  return psf;
}

static sky_image unpack_image(SEXP list, int n_band) {
  sky_image image;
  image.nx = call_int(list, "nx", 1, 1 << 20);
  image.ny = call_int(list, "ny", 1, 1 << 20);
  if ((double)image.nx * image.ny > 2147483647.0) Rf_error("internal error: too many pixels");
  const R_xlen_t n = (R_xlen_t)image.nx * image.ny;
  image.band = call_int(list, "band", 1, n_band) - 1;
  image.count = call_doubles(list, "count", n, 0);
  image.use = call_doubles(list, "use", n, 0);
  image.base = call_doubles(list, "base", n, 0);
  image.exposure = call_doubles(list, "exposure", image.nx, 0);
  image.gain = call_double(list, "gain");
  image.doubt = call_double(list, "doubt");
  memcpy(image.affine, call_doubles(list, "affine", 6, 0), sizeof image.affine);
  if (!(image.affine[2] * image.affine[5] - image.affine[3] * image.affine[4] != 0.0))
    Rf_error("internal error: `affine` is singular");
  image.psf = unpack_psf(call_element(list, "psf"));
  image.warp =
      call_element(list, "warp") == R_NilValue ? NULL : call_doubles(list, "warp", SKY_N_WARP, 0);
  image.mesh_x = call_int(list, "mesh_x", 0, 32);
  image.mesh_y = call_int(list, "mesh_y", image.mesh_x > 0, image.mesh_x > 0 ? 32 : 0);
  return image;
}

/* What a call works on: the images and its own copy of the types. */
typedef struct {
  sky_spec spec;
  sky_law law;
  sky_image *image;
  int *type;
  const double *theta, *node;
} sky_input;

static sky_law unpack_law(SEXP list) {
  const double *mean = call_doubles(list, "flux_mean", 2, 0);
  const sky_law law = {call_double(list, "density"),
                       call_double(list, "galaxies"),
                       {mean[0], mean[1]},
                       call_double(list, "flux_sd"),
                       call_double(list, "radius_mean"),
                       call_double(list, "radius_sd"),
                       call_double(list, "shape_sd")};
  if (!(law.density > 0.0 && law.galaxies >= 0.0 && law.galaxies < 1.0 && law.flux_sd > 0.0 &&
        law.radius_sd > 0.0 && law.shape_sd > 0.0))
    Rf_error("internal error: no such `law`");
  return law;
}

static void unpack_input(SEXP model, sky_input *in) {
  const SEXP images = call_element(model, "images");
  sky_spec *s = &in->spec;
  int n_node = 0;
  memset(in, 0, sizeof *in);
  s->n_image = (int)Rf_xlength(images);
  s->n_band = call_int(model, "n_band", 1, SKY_MAX_BANDS);
  s->n = call_int(model, "n", 0, 10000000);
  s->threads = call_int(model, "threads", 1, 1024);
  if (TYPEOF(images) != VECSXP || s->n_image < 1) Rf_error("internal error: no `images`");
  in->image = (sky_image *)R_alloc((size_t)s->n_image, sizeof *in->image);
  for (int b = 0; b < s->n_image; b++) {
    in->image[b] = unpack_image(VECTOR_ELT(images, b), s->n_band);
    n_node += in->image[b].mesh_x * in->image[b].mesh_y;
  }
  const R_xlen_t n = s->n;
  const int *type = call_ints(model, "type", n, 0);
  in->type = (int *)R_alloc((size_t)n + 1, sizeof(int));
  for (int i = 0; i < s->n; i++) {
    if (type[i] < 0 || type[i] >= SKY_N_TYPES) Rf_error("internal error: no such `type`");
    in->type[i] = type[i];
  }
  s->image = in->image;
  s->type = in->type;
  s->held = call_ints(model, "held", n, 0);
  s->reach = call_doubles(model, "reach", n * s->n_image, 0);
  if (call_element(model, "law") != R_NilValue) {
    in->law = unpack_law(call_element(model, "law"));
    s->law = &in->law;
  }
  in->theta = call_doubles(model, "theta", n * (s->n_band + SKY_N_SHAPE), 0);
  in->node = call_doubles(model, "node", n_node, 0);
  for (R_xlen_t i = 0; i < n * (s->n_band + SKY_N_SHAPE); i++)
    if (!isfinite(in->theta[i])) Rf_error("internal error: `theta` must be finite");
}

static void add_copy(call_list *out, const char *name, const double *value, int rows, int columns) {
  const int dim[2] = {rows, columns};
  memcpy(call_list_doubles(out, name, dim, 2), value,
         (size_t)rows * (size_t)columns * sizeof(double));
}

static void add_types(call_list *out, const int *type, int n) {
  SEXP types = PROTECT(Rf_allocVector(INTSXP, n));
  memcpy(INTEGER(types), type, (size_t)n * sizeof(int));
  call_list_add(out, "type", types);
  UNPROTECT(1);
}

/* q, by type and source. */
static void add_q(call_list *out, const sky_vb *w) {
  const int n = w->field.spec->n, N = w->n;
  const int mean[3] = {N, SKY_N_TYPES, n}, root[4] = {N, N, SKY_N_TYPES, n};
  const size_t size = (size_t)n * SKY_N_TYPES;
  add_copy(out, "probability", w->probability, SKY_N_TYPES, n);
  add_copy(out, "prior", w->prior, SKY_N_TYPES, n);
  memcpy(call_list_doubles(out, "mean", mean, 3), w->mean, size * (size_t)N * sizeof(double));
  memcpy(call_list_doubles(out, "root", root, 4), w->root, size * square(N) * sizeof(double));
}

static int image_number(SEXP x, const sky_spec *spec) {
  if (TYPEOF(x) != INTSXP || Rf_xlength(x) != 1 || INTEGER_RO(x)[0] < 1 ||
      INTEGER_RO(x)[0] > spec->n_image)
    Rf_error("internal error: no such image");
  return INTEGER_RO(x)[0] - 1;
}

/* Numbers of sources, from 0. */
static int *source_numbers(SEXP x, const sky_spec *spec, int *n) {
  if (TYPEOF(x) != INTSXP) Rf_error("internal error: numbers of sources are integers");
  *n = (int)Rf_xlength(x);
  int *out = (int *)R_alloc((size_t)*n + 1, sizeof(int));
  for (int i = 0; i < *n; i++) {
    out[i] = INTEGER_RO(x)[i] - 1;
    if (out[i] < 0 || out[i] >= spec->n) Rf_error("internal error: no such source");
  }
  return out;
}

/* The field, and which of its images is meant. */
static int open_field(SEXP model, SEXP image, sky_input *in, sky_field *f, const elbo_memory *mem) {
  unpack_input(model, in);
  const int b = image_number(image, &in->spec);
  sky_field_open(f, &in->spec, in->theta, in->node, mem);
  return b;
}

/* ---- entries --------------------------------------------------------------------------------- */

/* The mean of every pixel of every image, and the log-likelihood less the saturated one. */
SEXP call_sky_mean(SEXP model) {
  sky_input in;
  sky_field f;
  double value = R_NaN;
  const elbo_memory mem = call_memory();
  unpack_input(model, &in);
  sky_field_open(&f, &in.spec, in.theta, in.node, &mem);
  call_list out = call_list_new(2);
  SEXP means = PROTECT(Rf_allocVector(VECSXP, in.spec.n_image));
  for (int b = 0; b < in.spec.n_image; b++) {
    const int nx = in.image[b].nx, ny = in.image[b].ny;
    SET_VECTOR_ELT(means, b, Rf_allocMatrix(REALSXP, nx, ny));
    memcpy(REAL(VECTOR_ELT(means, b)), f.mean[b], (size_t)nx * (size_t)ny * sizeof(double));
  }
  call_list_add(&out, "mean", means);
  UNPROTECT(1);
  sky_field_value(&f, &value);
  call_list_double(&out, "value", value);
  UNPROTECT(2);
  return out.list;
}

/* Peaks of the matched filter of one image: pixel (from 0), z and flux. */
SEXP call_sky_detect(SEXP model, SEXP image, SEXP psf, SEXP how) {
  sky_input in;
  sky_field f;
  const elbo_memory mem = call_memory();
  const int most = call_int(how, "most", 1, 100000000);
  const sky_psf profile = unpack_psf(psf);
  const int b = open_field(model, image, &in, &f, &mem);
  const size_t size = (size_t)in.image[b].nx * (size_t)in.image[b].ny;
  double *z = elbo_doubles(&mem, size), *flux = elbo_doubles(&mem, size);
  int *peak = elbo_ints(&mem, (size_t)most);
  R_CheckUserInterrupt();
  sky_filter(&f, b, &profile, call_double(how, "doubt"), z, flux, elbo_doubles(&mem, 2 * size));
  const int found =
      sky_peaks(z, in.image[b].nx, in.image[b].ny, call_double(how, "least"), most, peak);
  const int n = found < most ? found : most;
  call_list out = call_list_new(3);
  double *at = call_list_doubles(&out, "pixel", &n, 1);
  double *height = call_list_doubles(&out, "z", &n, 1);
  double *light = call_list_doubles(&out, "flux", &n, 1);
  for (int i = 0; i < n; i++) {
    at[i] = peak[i];
    height[i] = z[peak[i]];
    light[i] = flux[peak[i]];
  }
  UNPROTECT(2);
  return out.list;
}

/* Sources one by one, in this order, in the best of the types allowed. */
SEXP call_sky_sweep(SEXP model, SEXP order, SEXP how) {
  sky_input in;
  sky_field f;
  const elbo_memory mem = call_memory();
  int n_order;
  unpack_input(model, &in);
  const int *numbers = source_numbers(order, &in.spec, &n_order);
  const int allowed = call_int(how, "allowed", 0, (1 << SKY_N_TYPES) - 1);
  const int remove = call_int(how, "remove", 0, 1), max_iter = call_int(how, "max_iter", 0, 1000);
  if (in.spec.law == NULL) Rf_error("internal error: a sweep needs a `law`");
  sky_field_open(&f, &in.spec, in.theta, in.node, &mem);
  call_list out = call_list_new(4);
  const int dim[2] = {SKY_N_TYPES, in.spec.n}, about[2] = {SKY_N_TOLD, in.spec.n};
  double *evidence = call_list_doubles(&out, "evidence", dim, 2);
  double *told = call_list_doubles(&out, "told", about, 2);
  double *memory = elbo_doubles(&mem, sky_local_size(&f));
  for (int i = 0; i < SKY_N_TYPES * in.spec.n; i++) evidence[i] = -HUGE_VAL;
  for (int i = 0; i < SKY_N_TOLD * in.spec.n; i++) told[i] = R_NaN;
  for (int at = 0; at < n_order; at++) {
    if (at % 32 == 0) R_CheckUserInterrupt();
    sky_sweep(&f, numbers + at, 1, allowed, remove, max_iter, in.type, evidence, told, memory);
  }
  add_copy(&out, "theta", f.theta, f.n_theta, in.spec.n);
  add_types(&out, in.type, in.spec.n);
  UNPROTECT(2);
  return out.list;
}

/* The point-spread function of one image from some of its sources. */
SEXP call_sky_psf(SEXP model, SEXP image, SEXP stars, SEXP psf, SEXP iterations) {
  sky_input in;
  sky_field f;
  int n_star;
  const elbo_memory mem = call_memory();
  const sky_psf start = unpack_psf(psf);
  if (TYPEOF(iterations) != INTSXP || Rf_xlength(iterations) != 1)
    Rf_error("internal error: `iterations` must be a number");
  const int b = open_field(model, image, &in, &f, &mem);
  const int *star = source_numbers(stars, &in.spec, &n_star);
  call_list out = call_list_new(4);
  double *weight = call_list_doubles(&out, "weight", &start.n, 1);
  const int dim[2] = {3, start.n};
  double *covariance = call_list_doubles(&out, "covariance", dim, 2);
  memcpy(weight, start.weight, (size_t)start.n * sizeof(double));
  memcpy(covariance, start.covariance, 3 * (size_t)start.n * sizeof(double));
  call_list_double(&out, "value",
                   sky_psf_em(&f, b, star, n_star, start.n, INTEGER_RO(iterations)[0], weight,
                              covariance, elbo_doubles(&mem, (size_t)n_star + 1)));
  add_copy(&out, "theta", f.theta, f.n_theta, in.spec.n);
  UNPROTECT(2);
  return out.list;
}

/* What stars tell of how the point-spread function of an image is warped where they are. */
SEXP call_sky_warp(SEXP model, SEXP image, SEXP stars) {
  sky_input in;
  sky_field f;
  int n_star;
  const elbo_memory mem = call_memory();
  const int b = open_field(model, image, &in, &f, &mem);
  const int *star = source_numbers(stars, &in.spec, &n_star);
  call_list out = call_list_new(2);
  const int one[2] = {3, n_star}, two[3] = {3, 3, n_star};
  double *score = call_list_doubles(&out, "score", one, 2);
  sky_psf_score(&f, b, star, n_star, score, call_list_doubles(&out, "information", two, 3));
  UNPROTECT(2);
  return out.list;
}

SEXP call_sky_fit(SEXP model, SEXP control, SEXP progress) {
  sky_input in;
  sky_em w;
  call_trace trace;
  elbo_result result;
  const elbo_memory mem = call_memory();
  const elbo_control how = call_control(control);
  const elbo_hooks hooks = call_hooks(&trace, progress);
  unpack_input(model, &in);
  sky_em_open(&w, &in.spec, in.theta, in.node, &mem);
  const elbo_status status = sky_em_ascend(&w, &how, &hooks, &mem, &result);
  call_list out = call_list_new(20);
  call_list_int(&out, "status", status);
  call_list_trace(&out, &trace);
  if (status >= 0) {
    call_list_result(&out, &result);
    add_copy(&out, "theta", w.field.theta, w.field.n_theta, in.spec.n);
    add_copy(&out, "node", w.field.node, w.field.n_node, 1);
  }
  UNPROTECT(2);
  return out.list;
}

/* Covariances of theta of each source, and of the sky; how each source stands in this image. */
SEXP call_sky_information(SEXP model, SEXP image) {
  sky_input in;
  sky_field f;
  int expected = 0;
  const elbo_memory mem = call_memory();
  const int b = open_field(model, image, &in, &f, &mem);
  call_list out = call_list_new(5);
  const int quality[2] = {5, in.spec.n};
  sky_quality(&f, b, call_list_doubles(&out, "quality", quality, 2));
  const int dim[3] = {f.n_theta, f.n_theta, in.spec.n}, nodes[2] = {f.n_node, f.n_node};
  double *covariance = call_list_doubles(&out, "covariance", dim, 3);
  double *of_nodes = call_list_doubles(&out, "node_covariance", nodes, 2);
  call_list_int(&out, "information_status",
                sky_information(&f, NULL, covariance, of_nodes, &expected, &mem));
  call_list_int(&out, "expected", expected);
  UNPROTECT(2);
  return out.list;
}

/* q of each source as each of the types allowed, and what it is by the evidence. */
SEXP call_sky_vb_types(SEXP model, SEXP allowed) {
  sky_input in;
  sky_vb w;
  const elbo_memory mem = call_memory();
  unpack_input(model, &in);
  const int n = in.spec.n, bits = call_int(allowed, "allowed", 0, (1 << SKY_N_TYPES) - 1);
  if (in.spec.law == NULL) Rf_error("internal error: q needs a `law`");
  sky_vb_open(&w, &in.spec, in.theta, in.node, NULL, &mem);
  call_list out = call_list_new(8);
  const int dim[2] = {SKY_N_TYPES, n}, about[2] = {SKY_N_TOLD, n};
  double *evidence = call_list_doubles(&out, "evidence", dim, 2);
  double *told = call_list_doubles(&out, "told", about, 2);
  for (int s = 0; s < n; s++) {
    if (s % 8 == 0) R_CheckUserInterrupt();
    sky_vb_types(&w, s, bits, in.type, evidence + SKY_N_TYPES * s, told + SKY_N_TOLD * s);
  }
  add_q(&out, &w);
  add_types(&out, in.type, n);
  UNPROTECT(2);
  return out.list;
}

/* The ascent from such a q, and covariances by linear response. */
SEXP call_sky_vb(SEXP model, SEXP q, SEXP control, SEXP progress) {
  sky_input in;
  sky_vb w;
  call_trace trace;
  elbo_result result;
  int expected = 0;
  const elbo_memory mem = call_memory();
  const elbo_control how = call_control(control);
  const elbo_hooks hooks = call_hooks(&trace, progress);
  unpack_input(model, &in);
  const R_xlen_t n = in.spec.n, N = in.spec.n_band + SKY_N_SHAPE;
  if (in.spec.law == NULL) Rf_error("internal error: q needs a `law`");
  const sky_q start = {call_doubles(q, "probability", SKY_N_TYPES * n, 0),
                       call_doubles(q, "prior", SKY_N_TYPES * n, 0),
                       call_doubles(q, "mean", N * SKY_N_TYPES * n, 0),
                       call_doubles(q, "root", N * N * SKY_N_TYPES * n, 0)};
  sky_vb_open(&w, &in.spec, in.theta, in.node, &start, &mem);
  const elbo_status status = sky_vb_ascend(&w, &how, &hooks, &mem, &result);
  call_list out = call_list_new(24);
  call_list_int(&out, "status", status);
  call_list_trace(&out, &trace);
  if (status >= 0) {
    const int dim[3] = {(int)N, (int)N, (int)n}, nodes[2] = {w.field.n_node, w.field.n_node};
    double *own = elbo_doubles(&mem, (size_t)n * square(SKY_MAX_FREE) + 1);
    call_list_result(&out, &result);
    add_q(&out, &w);
    add_copy(&out, "node", w.field.node, w.field.n_node, 1);
    sky_vb_precision(&w, own);
    add_copy(&out, "theta", w.field.theta, (int)N, (int)n);
    double *covariance = call_list_doubles(&out, "covariance", dim, 3);
    double *of_nodes = call_list_doubles(&out, "node_covariance", nodes, 2);
    call_list_int(&out, "information_status",
                  sky_information(&w.field, own, covariance, of_nodes, &expected, &mem));
    call_list_int(&out, "expected", expected);
  }
  UNPROTECT(2);
  return out.list;
}

/* Which source has which pixel of an image. */
SEXP call_sky_owner(SEXP model, SEXP image) {
  sky_input in;
  sky_field f;
  const elbo_memory mem = call_memory();
  const int b = open_field(model, image, &in, &f, &mem);
  const int nx = in.image[b].nx, ny = in.image[b].ny;
  SEXP out = PROTECT(Rf_allocMatrix(INTSXP, nx, ny));
  sky_owner(&f, b, INTEGER(out), elbo_doubles(&mem, (size_t)nx * (size_t)ny));
  UNPROTECT(1);
  return out;
}
