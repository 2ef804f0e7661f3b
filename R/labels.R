# Names of parameters for people, one for each everywhere: in print, tables, pictures, Word.
#
#   parameter_labels(fit)        of every parameter, named by the names of theta()
#   variance_labels(variances)   of the rows of variance_parameters()
#   term_labels(parameters)      of rows of the table of parameters, without the component
#   labelled(names, labels)      the labels of names, where there are any

# "age", "sd (Intercept) | Subject", "cor (Intercept), age | Subject", "sigma Female"; of mixtures
# "mean waiting, component 2".
parameter_labels <- function(fit) {
  parameters <- parameters_of(fit)
  labels <- term_labels(parameters)
  one <- !is.na(parameters$component)
  labels[one] <- sprintf("%s, component %s", labels[one], parameters$component[one])
  stats::setNames(labels, parameters$name)
}

term_labels <- function(parameters) {
  labels <- readable_stems(parameters)
  ifelse(is.na(parameters$group), labels, paste(labels, "|", parameters$group))
}

variance_labels <- function(variances) {
  label <- variance_label(variances)
  grouped <- !variances$kind %in% c("sigma", "smooth")
  ifelse(grouped, paste(label, "|", variances$group), label)
}

# "sd age", "cor (Intercept), age", "sigma", "sigma Female": where one group is understood.
variance_label <- function(variances) {
  terms <- with(variances, ifelse(is.na(var2), var1, paste0(var1, ", ", var2)))
  terms[terms %in% ""] <- NA
  kind <- ifelse(variances$kind == "smooth", "sd", variances$kind)
  ifelse(is.na(terms), kind, paste(kind, terms))
}

labelled <- function(names, labels) {
  found <- names %in% names(labels)
  replace(names, found, labels[names[found]])
}

# What nobs() counts.
counted_noun <- function(fit) UseMethod("counted_noun")

#' @exportS3Method
counted_noun.default <- function(fit) "row"

#' @exportS3Method
counted_noun.elbo_mixture <- function(fit) {
  if (design_of(fit)$n_unit < design_of(fit)$n_row) "unit" else "row"
}
