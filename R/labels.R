# Names of parameters for people, one for each everywhere: in print, tables, pictures, Word.
#
#   parameter_labels(fit)          of every parameter, named by the names of theta()
#   variance_labels(variances)     of the rows of variance_parameters()
#   readable_names(names)          of names alone, where there is no fit to ask

# "age", "sd (Intercept) | Subject", "cor (Intercept), age | Subject", "sigma Female"; of mixtures
# "mean waiting, component 2".
parameter_labels <- function(fit) UseMethod("parameter_labels")

#' @exportS3Method
parameter_labels.default <- function(fit) {
  names <- names(theta(fit))
  stats::setNames(names, names)
}

#' @exportS3Method
parameter_labels.elbo_glmm <- function(fit) {
  variances <- variance_parameters(fit)
  labels <- parameter_labels.default(fit)
  labels[variances$name] <- variance_labels(variances)
  labels
}

#' @exportS3Method
parameter_labels.elbo_mixture <- function(fit) {
  parameters <- parameters_of(fit)
  labels <- term_labels(own_terms(parameters), parameters$block, design_of(fit))
  one <- !is.na(parameters$component)
  labels[one] <- sprintf("%s, component %s", labels[one], parameters$component[one])
  stats::setNames(labels, parameters$name)
}

variance_labels <- function(variances) {
  label <- variance_label(variances)
  grouped <- !variances$kind %in% c("sigma", "smooth")
  ifelse(grouped, paste(label, "|", variances$group), label)
}

# "sd age", "cor (Intercept), age", "sigma", "sigma Female": where one group is understood.
variance_label <- function(variances) {
  terms <- with(variances, ifelse(is.na(var2), var1, paste0(var1, ", ", var2)))
  kind <- ifelse(variances$kind == "smooth", "sd", variances$kind)
  ifelse(is.na(terms), kind, paste(kind, terms))
}

# As near to parameter_labels() as names alone tell: a dot between two terms stays, since there may
# be others within them.
readable_names <- function(names) {
  scale <- grepl("^(sd|cor|rho)__.*[|]", names)
  component <- grepl("[|][0-9]+$", names)
  out <- sub("__", " ", names, fixed = TRUE)
  out <- sub("[|]([0-9]+)$", ", component \\1", out)
  out[scale & !component] <- sub("|", " | ", out[scale & !component], fixed = TRUE)
  out <- sub("^(sigma|size)[|]", "\\1 ", out)
  one_dot <- grepl("^cor [^.]*[.][^.]*$", out)
  out[one_dot] <- sub(".", ", ", out[one_dot], fixed = TRUE)
  out
}

# "mean a", "sd a", "cor a, b", "prob colour.red", "membership age"; coefficients as they are.
term_labels <- function(term, block, design) {
  label <- sub("__", " ", term, fixed = TRUE)
  names <- c(colnames(design$Y), colnames(design$Z))
  pairs <- if (any(block == "cor")) utils::combn(names, 2) else matrix("", 2, 0)
  pair <- match(label, sprintf("cor %s.%s", pairs[1, ], pairs[2, ]))
  both <- !is.na(pair)
  label[both] <- sprintf("cor %s, %s", pairs[1, pair[both]], pairs[2, pair[both]])
  ifelse(block == "beta", term, label)
}

# What nobs() counts.
counted_noun <- function(fit) UseMethod("counted_noun")

#' @exportS3Method
counted_noun.default <- function(fit) "row"

#' @exportS3Method
counted_noun.elbo_mixture <- function(fit) {
  if (design_of(fit)$n_unit < design_of(fit)$n_row) "unit" else "row"
}
