# The parameters of a fit: one table, a row for each entry of theta(), in its order.
#
#   name          as theta() has it, made of the columns below; nothing is ever read out of a name
#   block         the word for it in priors()
#   role          what kind of number it is, one of parameter_roles
#   group         the grouping factor it belongs to, NA for none
#   term1, term2  what it is of: the column of a coefficient, the term of an sd, the two of a
#                 correlation, the level of a sigma, variable and level of a probability
#   component     of a mixture, NA for what all components share
#   fixed         whether it is held by priors()
#   boundary      whether the estimate is at the end of its range
#
#   parameter_rows(block, ...)         rows of the table, names included
#   bind_parameters(...)               tables one below the other, NULL for none
#   of_components(rows, components)    the same rows for each component
#   which_parameters(fit, block, ...)  numbers of the rows with these columns
#   stem_names(parameters)             names without group and component: "sd__age"
#   term_names(parameters)             names without component: "sd__age|Subject"
#   inner_terms(parameters)            terms alone: "age", "colour.red"

parameter_columns <- c("name", "block", "role", "group", "term1", "term2", "component", "fixed",
                       "boundary")

# `to` takes an estimate to a scale without bounds, with the derivative `slope`, `from` back;
# `range`; what broom.mixed calls its `effect`; and whether it is one of coef().
new_role <- function(to, from, slope, range, effect, coef) {
  list(to = to, from = from, slope = slope, range = range, effect = effect, coef = coef)
}

number_role <- new_role(identity, identity, function(x) 1, c(-Inf, Inf), "fixed", TRUE)
share_role <- function(coef) {
  new_role(stats::qlogis, stats::plogis, function(x) 1 / (x * (1 - x)), c(0, 1), "fixed", coef)
}

parameter_roles <- list(
  coefficient = number_role, # it may be zero, which is what a test asks
  mean = number_role,
  probability = share_role(coef = TRUE),
  weight = share_role(coef = FALSE),
  threshold = new_role(identity, identity, function(x) 1, c(-Inf, Inf), "fixed", FALSE),
  size = new_role(log, exp, function(x) 1 / x, c(0, Inf), "fixed", FALSE),
  sd = new_role(log, exp, function(x) 1 / x, c(0, Inf), "ran_pars", FALSE),
  positive = new_role(log, exp, function(x) 1 / x, c(0, Inf), "fixed", TRUE), # of users' models
  bounded = number_role,
  cor = new_role(atanh, tanh, function(x) 1 / (1 - x^2), c(-1, 1), "ran_pars", FALSE)
)

# What the roles of these parameters say: "effect" or "coef".
role_of <- function(parameters, what) {
  unlist(lapply(parameter_roles[parameters$role], `[[`, what), use.names = FALSE)
}

# Blocks that several models have; another one says its role itself.
block_roles <- c(beta = "coefficient", membership = "coefficient", mean = "mean",
                 latent = "coefficient", prob = "probability", weight = "weight", sd = "sd",
                 smooth = "sd", sigma = "sd", cor = "cor", rho = "cor",
                 size = "size", threshold = "threshold")

# What stands before the terms in a name, and the word for it.
block_words <- c(membership = "membership", mean = "mean", prob = "prob", sd = "sd", smooth = "sd",
                 cor = "cor", rho = "rho", threshold = "threshold")

parameter_rows <- function(block, term1 = NA_character_, term2 = NA_character_,
                           group = NA_character_, component = NA_integer_, fixed = FALSE,
                           role = block_roles[block]) {
  columns <- list(block = block, role = unname(role), group = group, term1 = term1, term2 = term2,
                  component = component, fixed = fixed, boundary = FALSE)
  n <- if (any(lengths(columns) == 0)) 0L else max(lengths(columns))
  columns <- lapply(columns, rep_len, n)
  for (name in c("block", "role", "group", "term1", "term2")) {
    columns[[name]] <- as.character(columns[[name]])
  }
  table_of(c(list(name = parameter_names(columns)), columns))
}

# A data frame of columns that are known to be alike. data.frame() and rbind(), which look into
# everything, would take a third of the time of a small fit.
table_of <- function(columns) {
  structure(columns, class = "data.frame", row.names = .set_row_names(length(columns[[1]])))
}

bind_parameters <- function(...) {
  tables <- Filter(length, list(...))
  columns <- names(tables[[1]])
  table_of(sapply(columns, function(name) unlist(lapply(tables, `[[`, name)), simplify = FALSE))
}

of_components <- function(rows, components) {
  n <- nrow(rows)
  rows <- rows[rep(seq_len(n), length(components)), ]
  rows$component <- rep(components, each = n)
  rows$name <- parameter_names(rows)
  row.names(rows) <- NULL
  rows
}

# Of each of k components, or once for all.
shared_rows <- function(rows, k, common) if (common) rows else of_components(rows, seq_len(k))

which_parameters <- function(fit, block, term1 = NULL, term2 = NULL, component = NULL,
                             group = NULL) {
  parameters <- parameters_of(fit)
  keep <- parameters$block %in% block
  asked <- list(term1 = term1, term2 = term2, component = component, group = group)
  for (column in names(asked)[lengths(asked) > 0]) {
    keep <- keep & parameters[[column]] %in% asked[[column]]
  }
  which(keep)
}

# Which entries of theta() are those of coef().
is_coefficient <- function(fit) as.logical(role_of(parameters_of(fit), "coef"))

# ---- names -------------------------------------------------------------------------------

parameter_names <- function(parameters) append_part(term_names(parameters), parameters$component)

term_names <- function(parameters) append_part(stem_names(parameters), parameters$group)

append_part <- function(name, part) {
  known <- !is.na(part)
  name[known] <- paste0(name[known], "|", part[known])
  name
}

# "age", "sd__age", "cor__(Intercept).age", "prob__colour.red", "sigma|Female", "weight".
stem_names <- function(parameters) {
  names <- inner_terms(parameters)
  word <- unname(block_words[parameters$block])
  said <- !is.na(word)
  names[said] <- paste0(word[said], "__", names[said])
  sigma <- parameters$block == "sigma"
  names[sigma] <- paste0("sigma|", names[sigma])
  alone <- is.na(parameters$term1)
  names[alone] <- parameters$block[alone]
  names
}

inner_terms <- function(parameters) {
  terms <- parameters$term1
  terms[is.na(terms)] <- ""
  pair <- !is.na(parameters$term2)
  terms[pair] <- paste0(terms[pair], ".", parameters$term2[pair])
  terms
}

# As people read them, without group and component: "age", "sd age", "cor (Intercept), age",
# "prob colour.red", "sigma Female", "weight".
readable_stems <- function(parameters) {
  pair <- parameters$role == "cor" & !is.na(parameters$term2)
  terms <- inner_terms(parameters)
  terms[pair] <- paste0(parameters$term1[pair], ", ", parameters$term2[pair])
  word <- block_words[parameters$block]
  word[parameters$block == "sigma"] <- "sigma"
  ifelse(is.na(parameters$term1), parameters$block,
         ifelse(is.na(word), terms, trimws(paste(word, terms))))
}
