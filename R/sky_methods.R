# What a fit to images of the sky answers.

#' @export
nobs.elbo_sky <- function(object, ...) {
  check_dots_empty(..., .but = passed_along$nobs)
  as.integer(sum(vapply(field_of(object)$images, function(image) sum(image$use), 0)))
}

#' @exportS3Method
theta_covariance.elbo_sky <- function(fit, type) {
  names <- names(theta(fit))
  V <- matrix(NA_real_, length(names), length(names), dimnames = list(names, names))
  nodes <- seq_along(field_of(fit)$node)
  if (field_of(fit)$information_status >= 0) V[nodes, nodes] <- field_of(fit)$node_covariance
  V
}

#' @exportS3Method
covariance_types.elbo_sky <- function(fit) {
  if (method_of(fit) == "vb") "linear_response" else "observed"
}

# By either method theta, the sky and the point-spread function, is a point.
#' @exportS3Method
posterior_summary.elbo_sky <- function(fit) NULL

# The point-spread function is estimated before the rest.
#' @exportS3Method
without_error.elbo_sky <- function(fit) parameters_of(fit)$block == "sd"

#' @exportS3Method
counted_noun.elbo_sky <- function(fit) "pixel"

#' @exportS3Method
size_words.elbo_sky <- function(fit) {
  type <- field_of(fit)$sources$type
  paste(c(count_words(length(images_of(fit)), "image"), count_words(nobs(fit), "pixel"),
          count_words(sum(type == 0L), "star"), count_words(sum(type > 0L), "galaxy")),
        collapse = ", ")
}

#' @exportS3Method
integrated_words.elbo_sky <- function(fit) {
  if (method_of(fit) == "vb") {
    return("what each source is, where, how bright and of what shape integrated, the sky a point")
  }
  "which photon is whose integrated exactly, sources and sky points"
}

# Shapes of galaxies have the law of sources as their prior.
#' @exportS3Method
informed.elbo_sky <- function(fit) {
  method_of(fit) != "vb" && abs(objective_of(fit) - log_evidence_of(fit)) > 0
}

#' @exportS3Method
notes.elbo_sky <- function(fit) {
  field <- field_of(fit)
  cosmics <- sum(lengths(field$cosmics))
  c(if (cosmics > 0) {
      sprintf("Taken for cosmic rays and not used: %s.", count_words(cosmics, "pixel"))
    },
    if (isTRUE(field$forced)) "Positions and shapes are held: forced photometry.",
    if (any(field$dispersion > 1.5) && nobs(fit) > 100) sprintf(
      paste("Pixels vary %s times as much as counts of photons: see that `gain` is electrons a",
            "count and that counts have their sky; standard errors are too small."),
      format(max(field$dispersion), digits = 2)),
    if (field$expected == 1L) paste("The observed information is not positive definite:",
                              "standard errors are by the expected one."),
    if (field$information_status < 0) "Some parameters are not identified: no standard errors.")
}

#' Images that a catalogue makes
#'
#' @param object,x a fit by [fit_sky()].
#' @param image the number of the image.
#' @param type `predict()`: `"response"`, the mean of each pixel, or `"sd"`, the error map: the
#'   standard deviation of its count, of photons and read-out; `residuals()`: `"pearson"` for
#'   (counts - mean) over the standard deviation, or `"response"` for counts; `plot()`: `"image"`,
#'   or a picture of other fits.
#' @param ... nothing further.
#' @return `components()`: the point-spread function, `weight`, `mean` and `covariance` of its
#'   normals, as [sky_image()] takes it. `predict()` and `fitted()`: the mean of each pixel, a
#'   matrix of counts. `residuals()`: a matrix, `NA` where a pixel is not used. `simulate()`: a
#'   list of images drawn from the fit, each a [sky_image()] or, of several images, a list of them.
#'   `latent()`: [catalog()], or with
#'   `type = "pixels"` a matrix of the source (its `id`) that has most of the light of a pixel, 0
#'   where that is less than the noise of the sky.
#' @family catalogues
#' @examples
#' set.seed(1)
#' fit <- fit_sky(sim_sky(64, 64, n = 5))
#' range(residuals(fit))
#' table(latent(fit, type = "pixels"))
#' @name elbo_sky
NULL

# The mean of each pixel in electrons, image by image.
sky_means <- function(field) .Call(C_sky_mean, sky_model(field))$mean

check_image_number <- function(image, fit) {
  n <- length(images_of(fit))
  ok <- is_whole(image) && image >= 1 && image <= n
  what <- if (n == 1) "1, the only image" else sprintf("a number from 1 to %d", n)
  check(ok, "image", what, image)
}

#' @exportS3Method
elbo.elbo_sky <- function(object, theta = NULL, q = NULL, ...) {
  check_dots_empty(...)
  if (is.null(theta) && is.null(q)) return(objective_of(object))
  abort(c("A catalogue has its ELBO at the optimum only: elbo(fit).",
          "That of other sources: fit_sky(images, start = catalogue)."), "elbo_error_not_available")
}

#' @rdname elbo_sky
#' @exportS3Method generics::components elbo_sky
components.elbo_sky <- function(object, image = 1, ...) {
  check_dots_empty(...)
  check_image_number(image, object)
  field_of(object)$images[[image]]$psf
}

#' @rdname elbo_sky
#' @export
predict.elbo_sky <- function(object, image = 1, type = c("response", "sd"), ...) {
  check_dots_empty(...)
  check_image_number(image, object)
  type <- check_choice(type, "type", c("response", "sd"))
  original <- images_of(object)[[image]]
  # Light falls on dead pixels too.
  field <- field_of(object)
  field$images[[image]]$use[] <- 1
  mean <- sky_means(field)[[image]]
  if (type == "sd") return(sqrt(mean) / original$gain)
  (mean - original$read_noise^2) / original$gain
}

#' @rdname elbo_sky
#' @export
fitted.elbo_sky <- function(object, image = 1, ...) predict(object, image, ...)

#' @rdname elbo_sky
#' @export
residuals.elbo_sky <- function(object, type = c("pearson", "response"), image = 1, ...) {
  check_dots_empty(...)
  type <- check_choice(type, "type", c("pearson", "response"))
  check_image_number(image, object)
  original <- images_of(object)[[image]]
  mean <- predict(object, image)
  r <- original$counts - mean
  r[field_of(object)$images[[image]]$use == 0] <- NA
  if (type == "response") return(r)
  r / predict(object, image, "sd")
}

#' @rdname elbo_sky
#' @param nsim how many.
#' @param seed a whole number for [set.seed()], or `NULL`.
#' @export
simulate.elbo_sky <- function(object, nsim = 1, seed = NULL, ...) {
  check_dots_empty(...)
  nsim <- check_count(nsim, "nsim")
  if (!is.null(seed)) set.seed(check_whole(seed, "seed"))
  images <- images_of(object)
  means <- lapply(seq_along(images), function(b) predict(object, b))
  lapply(seq_len(nsim), function(i) {
    drawn <- Map(function(image, mean) {
      electrons <- stats::rpois(length(mean), image$gain * mean)
      if (image$read_noise > 0) {
        electrons <- electrons + stats::rnorm(length(mean), 0, image$read_noise)
        electrons <- pmax(electrons, -image$read_noise^2)
      }
      image$counts[] <- electrons / image$gain
      image
    }, images, means)
    if (length(drawn) == 1) drawn[[1]] else drawn
  })
}

#' @rdname elbo_sky
#' @export
latent.elbo_sky <- function(object, type = c("sources", "pixels"), image = 1, ...) {
  check_dots_empty(...)
  type <- check_choice(type, "type", c("sources", "pixels"))
  if (type == "sources") return(catalog(object))
  check_image_number(image, object)
  field <- field_of(object)
  owner <- .Call(C_sky_owner, sky_model(field), as.integer(image))
  id <- integer(length(field$sources$type))
  id[source_order(field)] <- seq_along(id)
  owner[] <- c(0L, id)[owner + 1]
  owner
}

#' @rdname elbo_sky
#' @export
plot.elbo_sky <- function(x, type = "image", image = 1, ...) {
  if (!identical(type, "image")) return(NextMethod())
  check_dots_empty(...)
  check_image_number(image, x)
  original <- images_of(x)[[image]]
  counts <- original$counts
  counts[sky_unused(original)] <- NA
  scale <- sky_scale(counts) # one for both
  old <- graphics::par(mfrow = c(1, 3), mar = c(3, 3, 2, 1), mgp = c(1.8, 0.6, 0))
  on.exit(graphics::par(old))
  draw_sky(counts, original$origin, scale, "counts")
  if (image == 1) mark_sources(catalog(x))
  draw_sky(predict(x, image), original$origin, scale, "model")
  draw_residuals(residuals(x, image = image), original$origin)
  invisible(x)
}

# Standardised residuals from -5 to 5: blue, white, red.
draw_residuals <- function(r, origin) {
  draw_pixels(pmin(pmax(r, -5), 5), origin, c(-5, 5), grDevices::hcl.colors(101, "Blue-Red 3"),
              "residual / sd, -5 to 5")
}
