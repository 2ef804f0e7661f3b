#' A catalogue of stars and galaxies from images of the sky
#'
#' Every photon that a camera counts came from the sky or from some source. Which, what each source
#' is, where, how bright and of what shape, is latent; [catalog()] gives it.
#'
#' @details
#' In pixel p of an image the number of electrons is Poisson with mean
#' \deqn{\mu_p = g\,c(p) + \sum_s F_s\,e\,f_s(p)}{mu_p = g c(p) + sum_s F_s e f_s(p)}
#' with \eqn{g} the gain, \eqn{c} the sky, \eqn{F_s} the flux of source s, and \eqn{f_s} its
#' profile: that of a star is the point-spread function, that of a galaxy an exponential disc, a de
#' Vaucouleurs bulge or both, elliptical, through the point-spread function. All are mixtures of
#' normals, so that the convolution is in closed form (Hogg and Lang 2013). Sources are found by a
#' matched filter on what is left of the image, in rounds. A source is kept, and is a star or a
#' galaxy, as Laplace's approximation of its marginal likelihood has it, under a law of sources
#' (density on the sky, fluxes, sizes, the share of galaxies) that is learnt from the catalogue.
#'
#' Method `"em"` attributes the electrons of each pixel to sources and sky (exactly: given their
#' total they are multinomial) and maximises over fluxes, positions, shapes and sky; Newton's method
#' by conjugate gradients, with a block for each source as its preconditioner, ends the ascent.
#' Shapes of galaxies have the law of sources as their prior, without which those of faint ones run
#' away; all else has none.
#' Standard errors are by the observed information of all sources and the sky together. The
#' point-spread function, where not given, is estimated from bright lone stars before that, and how
#' its width and shape vary over the image (a polynomial of the place in the logarithm of a matrix
#' that warps it, of degree 0, 1 or 2 by BIC); its own uncertainty is in no standard error. Where
#' further images look relative to the first is told by their world coordinates or origins and,
#' for the rest of it, up to 40 pixels, by the bright sources that they share.
#'
#' Method `"vb"` goes on from there: a source is a star or a galaxy of one of three profiles with
#' some probability and, given what it is, its log fluxes, its position and its shape have a joint
#' normal distribution, q. Their prior is the law of sources, log-normal in the flux; the sky is a
#' point. Of the log of the mean of a pixel the expectation is taken to second order, as Regier et
#' al. (2019) do; over the distribution of one source by a cubature of degree three (Stroud 1957).
#' Standard deviations are by linear response: q takes the sources for independent, which those that
#' overlap are not. Fluxes in [catalog()] are posterior means; magnitudes are those of the mean log
#' flux; [variational()] has q itself.
#'
#' The model of the light is never exact, which in the wings of bright stars is more than the noise
#' of photons: by which share it is off is estimated from the stars, and the evidence allows for
#' it.
#' Two stars of like brightness less than about two and a half of its widths apart may pass for one
#' thin galaxy; where there are no galaxies, `galaxies = FALSE` tells them apart.
#'
#' @param images a [sky_image()], or a list of them: of the same sky, in one or several bands.
#' @param method `"em"`, or `"vb"`: variational Bayes.
#' @param start `NULL`: sources are searched for. Or a catalogue, a data frame as [catalog()] gives
#'   it (`x`, `y`, `flux`, and of galaxies `p_galaxy`, `radius`, `axis_ratio`, `angle`): forced
#'   photometry, in which positions and shapes are held and fluxes are estimated.
#' @param psf point-spread function for all images, as [sky_image()] takes it.
#' @param galaxies `FALSE` where all sources are stars.
#' @param prior `NULL`.
#' @param control see [elbo_control()].
#' @return A fit of class `elbo_sky`: [catalog()] is the catalogue; [theta()] the sky of each image
#'   and the width of its point-spread function; `predict()` the model's image, `residuals()` that
#'   of standardised residuals, `plot()` all three; `latent(fit, type = "pixels")` a map of which
#'   source has which pixel.
#' @section Errors:
#' `elbo_error_argument` for arguments that are none; `elbo_error_image` for images without a pixel
#' to use.
#' @references
#' Regier, J., Miller, A. C., Schlegel, D., Adams, R. P., McAuliffe, J. D. and Prabhat (2019).
#' Approximate inference for constructing astronomical catalogs from images. *Annals of Applied
#' Statistics* 13, 1884--1926. \doi{10.1214/19-AOAS1258}
#'
#' Hogg, D. W. and Lang, D. (2013). Replacing standard galaxy profiles with mixtures of Gaussians.
#' *Publications of the Astronomical Society of the Pacific* 125, 719--730. \doi{10.1086/671228}
#' Stroud, A. H. (1957). Remarks on the disposition of points in numerical integration formulas.
#' *Mathematical Tables and Other Aids to Computation* 11, 257--261. \doi{10.2307/2001945}
#' @family models
#' @family catalogues
#' @examples
#' set.seed(1)
#' image <- sim_sky(96, 96, n = 10)
#' fit <- fit_sky(image)
#' fit
#' catalog(fit)
#' plot(fit)
#' @export
fit_sky <- function(images, method = c("em", "vb"), start = NULL, psf = NULL, galaxies = TRUE,
                    prior = NULL, control = elbo_control()) {
  began <- proc.time()[[3]]
  method <- check_choice(method, "method", c("em", "vb"))
  check(is.null(prior), "prior", "NULL: the law of sources is learnt from the images", prior)
  check_flag(galaxies, "galaxies")
  check(inherits(control, "elbo_control"), "control", "made by elbo_control()", control)
  check_no_quadrature(control)
  images <- check_images(images, psf)
  threads <- if (is.null(control$threads)) 1L else control$threads
  tell <- sky_progress(control)
  field <- first_field(images, threads)
  field <- if (is.null(start)) sky_search(field, galaxies, tell)
           else forced_sources(field, start, images[[1]]$origin)
  found <- climb_sky(in_order(field), control, tell)
  field <- where_climbed(in_order(field), found)
  for (pass in if (is.null(start)) 1:4) {
    kept <- without_doubtful(field)
    if (length(kept$sources$type) == length(field$sources$type)) break
    found <- climb_sky(kept, control, tell)
    field <- where_climbed(kept, found)
  }
  if (method == "vb") {
    best <- sky_variational(field, galaxies, control, tell)
    field <- best$field
    found <- best$found
  }
  new_sky_fit(field, found, list(call = match.call(), method = method, images = images,
                                 control = control, given_in = parent.frame(), began = began))
}

check_images <- function(images, psf) {
  if (is_sky_image(images)) images <- list(images)
  ok <- is.list(images) && length(images) > 0 && all(vapply(images, is_sky_image, NA))
  check(ok, "images", "an image made by sky_image(), or a list of such images", images)
  for (i in seq_along(images)) {
    if (all(sky_unused(images[[i]]))) {
      abort(sprintf("Image %d has no pixel to use: all are masked or full.", i),
            "elbo_error_image")
    }
    if (!is.null(psf)) images[[i]]$psf <- as_sky_psf(psf)
  }
  images
}

sky_progress <- function(control) {
  if (!show_progress(control)) return(function(text) invisible())
  function(text) message("fit_sky: ", text)
}

forced_sources <- function(field, start, origin) {
  field$sources <- sources_from_catalog(start, field$bands, held = 3L)
  at <- length(field$bands) + 1:2
  field$sources$theta[at, ] <- field$sources$theta[at, ] - origin + 1
  outside <- which(!on_some_image(field))
  if (length(outside) > 0) {
    abort(sprintf("`start` must lie on the images, but %s does not. Leave what is outside out.",
                  list_rows(outside)), "elbo_error_argument")
  }
  field$forced <- TRUE
  type <- field$sources$type
  field$evidence <- matrix(-Inf, 4, length(type))
  field$evidence[cbind(type + 1, seq_along(type))] <- 0
  field$told <- matrix(NaN, 3, length(type))
  field
}

on_some_image <- function(field) {
  at <- field$sources$theta[length(field$bands) + 1:2, , drop = FALSE]
  on <- vapply(field$images, function(image) {
    here <- to_image(image, at)
    here[1, ] > 0 & here[1, ] < image$nx + 1 & here[2, ] > 0 & here[2, ] < image$ny + 1
  }, logical(ncol(at)))
  rowSums(matrix(on, ncol(at))) > 0
}

where_climbed <- function(field, found) {
  field$sources$theta <- found$theta
  field$node <- as.double(found$node)
  field
}

in_order <- function(field) {
  keep_sources(field, order_by_position(field))
}

climb_sky <- function(field, control, tell) {
  threads <- field$threads
  progress <- if (show_progress(control)) {
    function(iteration, elbo) tell(sprintf("step %d, log-likelihood %.1f", iteration, elbo))
  }
  found <- .Call(C_sky_fit, sky_model(field), control_for_c(control, threads), progress)
  check_sky_status(found$status)
  found
}

# log p of the electrons where the mean is the count itself: what C leaves out.
saturated_log_likelihood <- function(field) {
  sum(vapply(field$images, function(image) {
    y <- image$count[image$use > 0 & image$count > 0]
    sum(y * log(y) - y - lgamma(y + 1))
  }, 0))
}

new_sky_fit <- function(field, found, facts) {
  saturated <- saturated_log_likelihood(field)
  trace <- ascent_trace(found$trace)
  trace$elbo <- trace$elbo + saturated
  newton <- trace$step == "newton" # the attributions are exact at each of its points
  trace$log_evidence <- ifelse(newton, trace$elbo, trace$log_evidence + saturated)
  trace$kl[newton] <- 0
  objective <- utils::tail(trace$elbo, 1)
  about <- lapply(seq_along(field$images), function(b) {
    .Call(C_sky_information, sky_model(field), b)
  })
  field$quality <- lapply(about, `[[`, "quality")
  uncertainty <- c("covariance", "node_covariance", "information_status", "expected")
  field[uncertainty] <- (if (is.null(field$posterior)) about[[1]] else found)[uncertainty]
  field$dispersion <- dispersion(field)
  parameters <- sky_parameters(field)
  theta <- c(field$node, vapply(field$images, function(image) psf_sd(image$psf), 0))
  names(theta) <- parameters$name
  attr(theta, "fixed") <- parameters$fixed
  free <- sum(field$covariance[rep(diag(nrow(field$sources$theta)) == 1,
                                   ncol(field$sources$theta))] > 0)
  fit <- list(call = facts$call, given_in = facts$given_in, method = facts$method,
              images = facts$images, field = field, theta = theta, parameters = parameters,
              objective = objective,
              log_evidence = if (is.null(field$posterior)) objective - log_law(field) else NA_real_,
              trace = trace,
              convergence = ascent_convergence(found), control = facts$control,
              df_parameters = free + length(field$node), prior = NULL,
              priors = list(stated = list(), default = logical()),
              time = proc.time()[[3]] - facts$began)
  new_elbo_fit(fit, "elbo_sky")
}

# The law's log density of the shapes of galaxies, up to the constant that C leaves out as well.
log_law <- function(field) {
  law <- field$law
  free <- field$sources$type > 0L & bitwAnd(field$sources$held, 2L) == 0L
  if (is.null(law) || !any(free)) return(0)
  shape <- field$sources$theta[length(field$bands) + 3:6, free, drop = FALSE]
  both <- field$sources$type[free] == 3L
  z <- rbind((shape[1, ] - law$radius_mean) / law$radius_sd, shape[2:3, ] / law$shape_sd)
  sum(log(shape[4, both] * (1 - shape[4, both]))) - sum(z^2) / 2
}

# By how much pixels vary more than counts of photons do: the squared median absolute standardised
# residual of each image, in units of the normal one.
dispersion <- function(field) {
  means <- sky_means(field)
  mapply(function(image, mean) {
    used <- image$use > 0
    stats::median(abs(image$count - mean)[used] / sqrt(mean[used]))^2 / stats::qnorm(0.75)^2
  }, field$images, means)
}

# The sky's coefficients and the width of the point-spread function, image by image.
sky_parameters <- function(field) {
  label <- if (length(field$images) > 1) sky_labels(field) else NA_character_
  rows <- lapply(seq_along(field$images), function(b) {
    image <- field$images[[b]]
    nodes <- image$mesh_x * image$mesh_y
    at <- expand.grid(i = seq_len(image$mesh_x), j = seq_len(image$mesh_y))
    parameter_rows("sky", role = "mean", term1 = if (nodes == 0) character() else "sky",
                   term2 = if (nodes > 1) paste(at$i, at$j, sep = ".") else
                     rep(NA_character_, nodes), group = label[b])
  })
  widths <- parameter_rows("sd", term1 = "psf", group = label[seq_along(field$images)],
                           fixed = !field$free_psf)
  rbind(do.call(rbind, rows), widths)
}

# A word for each image: its band, numbered where several have it.
sky_labels <- function(field) {
  band <- field$bands[vapply(field$images, `[[`, 0L, "band")]
  make.unique(band)
}
