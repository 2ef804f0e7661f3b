# Variational Bayes of a catalogue: q(type) and, given its type, a normal for each source (see
# src/sky/vb.h). q is list(probability, mean, root): 4 x n; N x 4 x n; N x N x 4 x n, the first
# numbers of each column those of the free parameters of the type.

# From a field where em ended: what each source is, the law of sources learnt from that, and the
# ascent.
sky_variational <- function(field, galaxies, control, tell) {
  types <- if (isTRUE(field$forced)) 0L else type_bits(galaxies)
  if (is.null(field$law)) field$law <- sky_law(field, galaxies)
  for (turn in if (isTRUE(field$forced)) 1L else 1:2) {
    q <- .Call(C_sky_vb_types, sky_model(field), list(allowed = types))
    field[c("evidence", "told")] <- q[c("evidence", "told")]
    field$sources$type <- q$type
    if (!isTRUE(field$forced)) field$law <- sky_law(field, galaxies)
    tell(sprintf("q of %s", count_words(length(q$type), "source")))
  }
  progress <- if (show_progress(control)) {
    function(iteration, elbo) tell(sprintf("step %d, ELBO %.1f", iteration, elbo))
  }
  found <- .Call(C_sky_vb, sky_model(field), q, control_for_c(control, field$threads), progress)
  check_sky_status(found$status)
  field$sources$theta <- found$theta
  field$node <- as.double(found$node)
  field$posterior <- found[c("probability", "mean", "root")]
  list(field = field, found = found)
}

# Which rows of theta are free, as src/sky/field.c has them.
free_rows <- function(type, held, B) {
  shape <- if (type > 0L && bitwAnd(held, 2L) == 0L) B + 3:5
  c(seq_len(B), if (bitwAnd(held, 1L) == 0L) B + 1:2, shape,
    if (!is.null(shape) && type == 3L) B + 6L)
}

# q of source s as type t (from 1): list(mean, covariance), named by rows of theta. Of linear
# response the covariance is that of the type of the highest probability; of others it is q's own.
source_q <- function(field, s, t, type) {
  B <- length(field$bands)
  rows <- free_rows(t - 1L, field$sources$held[s], B)
  n <- length(rows)
  root <- matrix(field$posterior$root[, , t, s][seq_len(n^2)], n)
  own <- tcrossprod(root)
  covariance <- own
  if (type == "linear_response" && t == field$sources$type[s] + 1L &&
        field$information_status >= 0) {
    theta <- field$sources$theta[rows, s]
    slope <- ifelse(rows <= B, theta, ifelse(rows == B + 6L, theta * (1 - theta), 1))
    covariance <- field$covariance[rows, rows, s] / outer(slope, slope)
  }
  list(mean = field$posterior$mean[seq_len(n), t, s], own = diag(own), variance = diag(covariance),
       rows = rows)
}

# Means and standard deviations of a source under q, its types mixed: matrices with a column a
# source of log flux and flux (B rows each), x and y.
posterior_moments <- function(field, type) {
  B <- length(field$bands)
  n <- ncol(field$sources$theta)
  of <- function(s) {
    p <- field$posterior$probability[, s]
    parts <- lapply(which(p > 0), function(t) {
      q <- source_q(field, s, t, type)
      log_flux <- seq_len(B)
      place <- match(B + 1:2, q$rows)
      flux <- exp(q$mean[log_flux] + q$own[log_flux] / 2)
      held <- is.na(place) # then it has no variance
      at <- ifelse(held, field$sources$theta[B + 1:2, s], q$mean[place])
      list(p = p[t], mean = c(q$mean[log_flux], flux, at),
           variance = c(q$variance[log_flux], flux^2 * expm1(q$variance[log_flux]),
                        ifelse(held, 0, q$variance[place])))
    })
    weight <- vapply(parts, `[[`, 0, "p")
    means <- vapply(parts, `[[`, numeric(2 * B + 2), "mean")
    variances <- vapply(parts, `[[`, numeric(2 * B + 2), "variance")
    mean <- drop(means %*% weight)
    rbind(mean, sqrt(drop((variances + (means - mean)^2) %*% weight)))
  }
  moments <- vapply(seq_len(n), of, matrix(0, 2, 2 * B + 2))
  part <- function(rows) {
    list(mean = matrix(moments[1, rows, ], ncol = n), sd = matrix(moments[2, rows, ], ncol = n))
  }
  list(log_flux = part(seq_len(B)), flux = part(B + seq_len(B)), place = part(2 * B + 1:2))
}

#' @rdname elbo_sky
#' @exportS3Method
variational.elbo_sky <- function(object, ...) {
  check_dots_empty(...)
  if (method_of(object) != "vb") {
    not_for("sky", "variational() of method \"em\"", "fit_sky(images, method = \"vb\") has a q.")
  }
  field <- field_of(object)
  B <- length(field$bands)
  names <- c(paste0("log_flux", if (B > 1) paste0("_", field$bands)), "x", "y", "log_radius", "a",
             "b", "logit_dev_fraction")
  ids <- order(source_order(field))
  rows <- lapply(seq_along(ids), function(s) {
    lapply(which(field$posterior$probability[, s] > 0), function(t) {
      q <- source_q(field, s, t, "mean_field")
      data.frame(id = ids[s], type = names(sky_types)[t],
                 probability = field$posterior$probability[t, s], term = names[q$rows],
                 mean = q$mean, sd = sqrt(q$own))
    })
  })
  out <- do.call(rbind, unlist(rows, recursive = FALSE))
  if (is.null(out)) return(data.frame())
  out <- out[order(out$id, -out$probability), ]
  row.names(out) <- NULL
  out
}
