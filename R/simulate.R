#' Simulate responses from a fit
#'
#' @param object A fit made by [fit_glmm()].
#' @param nsim Number of responses to simulate.
#' @param seed `NULL` to draw from the session's generator, or a whole number, from which the
#'   same responses follow each time and which leaves the session's generator as it was.
#' @param newdata A data frame to simulate for; `NULL` for the rows of the fit.
#' @param re.form `NA` or `~ 0` draws the latent variables anew from their law in each
#'   simulation, those of smooth terms too, so that each has curves of its own; `NULL` keeps them at
#'   their posterior means (`"vb"`: draws them from their posterior).
#' @param ... Nothing further.
#' @param use.u,REForm,ReForm,REform Words of lme4: `use.u = TRUE` is `re.form = NULL`, `FALSE` is
#'   `NA`.
#' @param allow.new.levels As in lme4; without effect, as `re.form = NA` takes any groups and `NULL`
#'   those of the fit only.
#' @details
#' Parameters are taken as they were estimated; by method `"vb"` they are drawn from the
#' posterior, anew for each simulation, and so are the latent variables under `re.form = NULL`.
#' With `newdata` and `re.form = NA` any groups will do; with `re.form = NULL` they must be
#' those of the fit. Latent variables that have no law cannot be drawn.
#' @return A data frame with the columns `sim_1`, `sim_2`, ..., a row for each row of the fit
#'   (padded with `NA` under [stats::na.exclude()]) or of `newdata`. The attribute `seed` holds
#'   the state of the generator before the simulation, as in [stats::simulate()].
#' @family what a fit answers
#' @aliases simulate.elbo_fit
#' @examples
#' fit <- fit_glmm(distance ~ age + (age | Subject), nlme::Orthodont)
#' head(simulate(fit, 3, seed = 1))
#' simulate(fit, 2, newdata = data.frame(Subject = "new", age = 8:10))
#' @importFrom stats simulate
#' @export
simulate.elbo_glmm <- function(object, nsim = 1, seed = NULL, newdata = NULL, re.form = NA,
                               ..., use.u = NULL, allow.new.levels = FALSE, REForm, ReForm,
                               REform) {
  check_dots_empty(...)
  if (missing(re.form)) re.form <- re_form(re.form, REForm, ReForm, REform)
  if (!is.null(use.u)) re.form <- if (!check_flag(use.u, "use.u")) NA
  check_flag(allow.new.levels, "allow.new.levels")
  nsim <- check_count(nsim, "nsim")
  object <- keep_terms(object, re.form)
  state <- generator_state(seed)
  draws <- with_seed(seed, row_draws(object, nsim, newdata, includes_latent(re.form)))
  names <- row_names(object, newdata)
  pad <- if (is.null(newdata)) function(x) pad_prediction(object, NULL, x) else identity
  out <- data.frame(row.names = names(pad(stats::setNames(seq_along(names), names))))
  out[paste0("sim_", seq_len(nsim))] <- lapply(draws, pad)
  structure(out, seed = state)
}

# Responses of all rows, a list of nsim; `given`: with the latent variables as they are known.
row_draws <- function(object, nsim, newdata, given) UseMethod("row_draws")

#' @exportS3Method
row_draws.elbo_glmm <- function(object, nsim, newdata, given) {
  latent <- ncol(design_of(object)$Z) > 0
  data <- row_data(object, newdata, na.pass, latent, prediction = TRUE)
  group <- if (latent && given) group_index(object, data, allow = FALSE)
  draw_of <- function(fit) {
    mean <- unname(row_mean(fit, data, group))
    sd <- row_sd(fit, data)
    draw_latent <- if (latent && !given) latent_sampler(fit, data) else function() 0
    draw_curves <- if (has_curves(fit) && !given) curve_sampler(fit, data) else function() 0
    function() mean + (draw_curves() + draw_latent() + sd * stats::rnorm(length(mean)))
  }
  if (method_of(object) == "vb") {
    fits <- posterior_fits(object, nsim, latent && given)
    return(lapply(fits, function(fit) draw_of(fit)()))
  }
  one <- draw_of(object)
  lapply(seq_len(nsim), function(i) one())
}

# A function that draws the latent part of each row: u_g = root of Sigma, times standard
# normals; `rows`: of each factor, those that it is about.
latent_sampler <- function(object, data, rows = TRUE) {
  law <- latent_law(object)
  if (any(is.infinite(law))) {
    abort(c("Latent variables without a law cannot be drawn.",
            "Use re.form = NULL to keep them at their posterior means."), "elbo_error_no_law")
  }
  Z <- row_random(object, data)
  names <- names(design_of(object)$groups)
  parts <- Map(function(name, rows) {
    columns <- which(column_groups(design_of(object)) == name)
    list(Z = Z[, columns, drop = FALSE], group = row_group(object, data, name),
         root = covariance_factor(law[columns, columns, drop = FALSE]), rows = rows)
  }, names, rows)
  one <- function(part) {
    q <- ncol(part$Z)
    u <- matrix(stats::rnorm(nlevels(part$group) * q), nlevels(part$group)) %*% part$root
    rowSums(part$Z * u[part$group, , drop = FALSE]) * part$rows
  }
  function() Reduce(`+`, lapply(parts, one))
}

# A function that draws by how much new curves differ from those of the fit.
curve_sampler <- function(object, data) {
  B <- row_smooth(object, data)
  sd <- rep(theta(object)[parameters_of(object)$block == "smooth"],
            smooth_sizes(design_of(object)$curves))
  function() drop(B %*% (sd * stats::rnorm(length(sd)) - smooth_of(object)$mean))
}

# As stats::simulate() has it: without a seed the state of the generator, with one the seed.
generator_state <- function(seed) {
  if (!is.null(seed)) return(structure(check_whole(seed, "seed"), kind = as.list(seeded_kind)))
  if (!exists(".Random.seed", envir = globalenv(), inherits = FALSE)) stats::runif(1)
  get(".Random.seed", envir = globalenv())
}
