# How the posterior means of a fit by method "vb" move with its priors.
#
# E_q[theta] = f(eta, alpha): eta the scales at their best, alpha the numbers in the priors,
# which also enter directly, through the best beta at given scales and the degrees of freedom
# of q. With g the gradient of the ELBO by eta and H its derivative (implicit function theorem)
#
#   d E_q[theta] / d alpha = J (-H)^{-1} dg/d alpha + df/d alpha,   J = df/d eta,
#
# the formula of linear response. Derivatives by alpha at fixed eta are central differences of
# closed forms.

prior_sensitivity <- function(fit) {
  if (method_of(fit) != "vb") {
    abort(c(sprintf("Sensitivity to the prior is for fits by method \"vb\", not \"%s\".",
                    method_of(fit)),
            "Use update(fit, method = \"vb\"), or `to = \"data\"`."),
          "elbo_error_not_available")
  }
  alpha <- prior_numbers(fit)
  free <- parameters_of(fit)$name[!parameters_of(fit)$fixed]
  if (is.null(alpha)) { # flat priors have no numbers
    return(data.frame(estimate = character(), prior = character(), number = character(),
                      value = numeric(), derivative = numeric(), per_sd = numeric()))
  }
  slopes <- vapply(seq_len(nrow(alpha)), function(i) prior_slope(fit, alpha[i, ])[free],
                   numeric(length(free)))
  slopes <- matrix(slopes, length(free))
  sd <- sqrt(diag(information_of(fit)$linear_response))[free]
  rows <- rep(seq_len(nrow(alpha)), each = length(free))
  table <- data.frame(
    estimate = rep(free, nrow(alpha)), prior = alpha$prior[rows], number = alpha$number[rows],
    value = alpha$value[rows], derivative = as.vector(slopes), per_sd = as.vector(slopes / sd)
  )
  structure(table, labels = c(parameter_labels(fit), stats::setNames(alpha$label, alpha$prior)),
            class = c("elbo_sensitivity", "data.frame"))
}

# Every number in a prior that is not a constant: prior (the name of its parameter, or of those
# that share it) and its label, number, value, its unit, and the `rows` of theta whose prior has it.
# The terms of a ( | ) under half-t priors share their df, its correlations their prior.
prior_numbers <- function(fit) {
  parameters <- parameters_of(fit)
  labels <- parameter_labels(fit)
  numbers <- function(rows, names) {
    prior <- priors_of(fit)$stated[[rows[1]]]
    value <- unlist(prior$parameters[names])
    if (length(value) == 0) return(NULL)
    # A mean has no scale of its own but the prior's sd.
    unit <- ifelse(names(value) %in% c("mean", "location"),
                   unlist(prior$parameters[c("sd", "scale")])[1], value)
    data.frame(prior = toString(parameters$name[rows]), label = toString(labels[rows]),
               number = names(value), value = unname(value), unit = unname(unit),
               rows = I(rep(list(rows), length(value))))
  }
  groups <- prior_groups(fit)
  out <- lapply(groups, function(group) {
    names <- names(priors_of(fit)$stated[[group$rows[1]]]$parameters)
    numbers(group$rows, setdiff(if (is.null(group$only)) names else intersect(names, group$only),
                                c(group$without,
                                  if (!is_shiftable(fit, group$rows[1])) "location")))
  })
  do.call(rbind, out)
}

# A location other than zero is not one that an sd may have.
is_shiftable <- function(fit, row) parameters_of(fit)$block[row] == "beta"

# Rows of theta whose priors move together, in the order of theta.
prior_groups <- function(fit) {
  parameters <- parameters_of(fit)
  free <- which(!parameters$fixed)
  sds <- which(parameters$block == "sd")
  cors <- which(parameters$block == "cor")
  blocks <- column_blocks(design_of(fit))
  wishart <- is.na(priors_of(fit)$told$prior_lkj)[blocks]
  shared <- Filter(function(rows) length(rows) > 1 && all(rows %in% free),
                   lapply(unique(blocks[wishart]), function(b) sds[blocks == b]))
  single <- function(rows) {
    lapply(rows, function(i) list(rows = i, without = if (i %in% unlist(shared)) "df"))
  }
  of_cors <- split(intersect(cors, free), cor_blocks(column_blocks(design_of(fit)))[cors %in% free])
  c(single(intersect(which(parameters$block == "beta"), free)),
    lapply(shared, function(rows) list(rows = rows, only = "df")),
    single(intersect(sds, free)),
    lapply(unname(of_cors), function(rows) list(rows = rows)),
    single(intersect(which(parameters$block %in% c("smooth", "sigma")), free)))
}

# d E_q[theta] by one of them.
prior_slope <- function(fit, alpha) {
  step <- 1e-4 * alpha$unit
  up <- at_priors(fit, alpha, step)
  down <- at_priors(fit, alpha, -step)
  direct <- (up$theta - down$theta) / (2 * step)
  score <- (up$score - down$score) / (2 * step)
  direct + drop(theta_response(fit) %*% information_of(fit)$eta_cov %*% score)
}

# E_q[theta] and the gradient of the ELBO by eta under a moved prior, the scales as they are.
at_priors <- function(fit, alpha, step) {
  eta <- eta_of(fit)
  for (i in alpha$rows[[1]]) {
    priors_of(fit)$stated[[i]]$parameters[[alpha$number]] <- alpha$value + step
  }
  priors_of(fit)$told <- vb_told(priors_of(fit)$stated, design_of(fit), held_of(fit),
                                 priors_of(fit)$factorization)
  at <- at_eta(fit, eta)
  theta <- c(theta(fit))
  attr(theta, "fixed") <- NULL
  theta[information_of(fit)$free_beta] <- at$beta[seq_along(information_of(fit)$free_beta)]
  theta[parameters_of(fit)$block != "beta"] <-
    vb_parameters(at, design_of(fit), held_of(fit))$value
  list(theta = theta, score = at$score)
}
