#' The effect of microcredit on profit in seven randomised trials
#'
#' Seven trials gave households or neighbourhoods access to microcredit at random. For each,
#' the estimated effect of access on a household's business profit and its standard error: one
#' row a site, as a meta-analysis has them.
#'
#' Each pair of figures is an ordinary least-squares regression of profit on treatment, with
#' 961 households (Mongolia) to 16,560 (Mexico). The standard errors differ by a factor of 350,
#' which makes the data a hard case: maximum likelihood puts the standard deviation of the
#' effect between the sites at exactly zero, restricted maximum likelihood at 6.8.
#'
#' The studies are Mexico: Angelucci, Karlan and Zinman (2015); Mongolia: Attanasio, Augsburg,
#' De Haas, Fitzsimons and Harmgart (2015); Bosnia and Herzegovina: Augsburg, De Haas, Harmgart
#' and Meghir (2015); India: Banerjee, Duflo, Glennerster and Kinnan (2015); Morocco: Crepon,
#' Devoto, Duflo and Pariente (2015); Philippines: Karlan and Zinman (2011); Ethiopia: Tarozzi,
#' Desai and Johnson (2015).
#'
#' @format A data frame of 7 rows and 3 columns:
#' \describe{
#'   \item{`country`}{factor, the site.}
#'   \item{`estimate`}{effect on profit, in US dollars (purchasing power parity, 2009) per
#'     fortnight.}
#'   \item{`se`}{its standard error.}
#' }
#' @source
#' The regressions are those of Meager, R. (2019). Understanding the average impact of
#' microcredit expansions: a Bayesian hierarchical analysis of seven randomized experiments.
#' *American Economic Journal: Applied Economics* 11(1), 57--91. \doi{10.1257/app.20170299}
#'
#' and of Broderick, T., Giordano, R. and Meager, R. (2020). An automatic finite-sample
#' robustness metric: when can dropping a little data make a big difference?
#' \doi{10.48550/arXiv.2011.14999}
#' @references
#' The trials: *American Economic Journal: Applied Economics* 7(1), 2015, for all but the
#' Philippines; Karlan, D. and Zinman, J. (2011). Microcredit in theory and practice: using
#' randomized credit scoring for impact evaluation. *Science* 332, 1278--1284.
#' \doi{10.1126/science.1200138}
#' @name microcredit_sites
#' @docType data
#' @usage microcredit_sites
#' @keywords datasets
#' @examples
#' fit <- fit_glmm(estimate ~ 1 + (1 | country), microcredit_sites, se = se)
#' fit
#' update(fit, method = "reml")
NULL
