# No alias `elbo`: that is the page of the function elbo().

#' elbo: latent variable models by EM and variational inference
#'
#' Fits models with latent variables \eqn{z} and parameters \eqn{\theta}{theta} by maximising
#' one objective over a family of distributions \eqn{q}, the evidence lower bound
#' \deqn{\mathrm{ELBO}(q)=E_q[\log p(y,z,\theta)]-E_q[\log q(z,\theta)].}{
#'   ELBO(q) = E_q[log p(y, z, theta)] - E_q[log q(z, theta)].}
#'
#' A model says what \eqn{\log p(y,z,\theta)}{log p(y, z, theta)} is, a method which
#' \eqn{q} are allowed, and nothing else:
#'
#' | `method` | \eqn{z} | coefficients | variances | known as |
#' |---|---|---|---|---|
#' | `"joint"` | points | points | points | joint maximum likelihood |
#' | `"em"` | integrated | points | points | marginal maximum likelihood (ML) |
#' | `"reml"` | integrated | integrated | points | restricted maximum likelihood (REML) |
#' | `"vb"` | best factor | best factor | best factors | variational Bayes |
#'
#' Treated as points, latent variables take information with them that the parameters need:
#' with a mean for each pair of observations, joint maximum likelihood estimates half of their
#' variance, however many pairs there are (Neyman and Scott 1948; [sim_pairs()]). The EM
#' algorithm (Dempster, Laird and Rubin 1977) is coordinate ascent of the ELBO with a point for
#' \eqn{\theta}{theta} and any \eqn{q(z)}: the E-step brings the Kullback-Leibler divergence
#' from \eqn{q(z)} to \eqn{p(z\mid y,\theta)}{p(z | y, theta)} to zero, where the ELBO equals
#' the log-likelihood (Neal and Hinton 1998). REML integrates the coefficients as well, under a
#' flat prior (Harville 1974). Variational Bayes has a distribution for everything.
#'
#' @section Where to begin:
#' * [fit_glmm()] fits Gaussian mixed models and meta-analyses, [fit_mixture()] mixtures, latent
#'   classes and clusters of curves, [fit_sky()] catalogues of stars and galaxies;
#'   [priors()] says what law the latent variables have, [elbo_control()] how the fit climbs.
#' * [summary()][summary.elbo_fit], [plot()][plot.elbo_fit], [theta()], [latent()],
#'   [elbo_trace()] and [convergence()] answer for every fit;
#'   [confint()][confint.elbo_fit], [anova()][anova.elbo_fit], [bootstrap()] and
#'   [sensitivity()] say how far to trust it.
#' * `update(fit, method = )` changes what is integrated, [compare_fits()] sets fits side by
#'   side, [sim_pairs()] and [sim_glmm()] make data whose [truth()] is known.
#' * `vignette("elbo")` shows all of them at work.
#'
#' @references
#' Dempster, A. P., Laird, N. M. and Rubin, D. B. (1977). Maximum likelihood from incomplete
#' data via the EM algorithm. *Journal of the Royal Statistical Society B* 39, 1--38.
#' \doi{10.1111/j.2517-6161.1977.tb01600.x}
#'
#' Harville, D. A. (1974). Bayesian inference for variance components using only error
#' contrasts. *Biometrika* 61, 383--385. \doi{10.1093/biomet/61.2.383}
#'
#' Neal, R. M. and Hinton, G. E. (1998). A view of the EM algorithm that justifies incremental,
#' sparse, and other variants. In *Learning in Graphical Models*, 355--368.
#' \doi{10.1007/978-94-011-5014-9_12}
#'
#' Neyman, J. and Scott, E. L. (1948). Consistent estimates based on partially consistent
#' observations. *Econometrica* 16, 1--32. \doi{10.2307/1914288}
#' @aliases NULL elbo-package
#' @keywords internal
"_PACKAGE"
