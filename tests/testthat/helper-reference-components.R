# A mixture in plain R, from its design and a vector theta alone, independent of the package's own
# arithmetic: log p(y_i, z_i = j | theta) of every unit and component, n_unit x k.
reference_log_joint <- function(fit, theta = theta_of(fit)) {
  design <- design_of(fit)
  value <- function(pattern) unname(theta[grep(pattern, names(theta))])
  unit <- if (is.null(design$first)) seq_len(design$n_row)
          else rep(seq_len(design$n_unit), diff(design$first))
  prior <- if (is.null(design$W)) {
    matrix(log(value("^weight[|]")), design$n_unit, n_components(fit), byrow = TRUE)
  } else {
    eta <- cbind(0, design$W %*% matrix(value("^membership__"), ncol(design$W)))
    eta - row_log_sum_exp(eta)
  }
  for (j in seq_len(n_components(fit))) {
    of_component <- theta[grepl(paste0("[|]", j, "$"), names(theta))]
    names(of_component) <- sub("[|][0-9]+$", "", names(of_component))
    if ("sigma" %in% names(theta)) of_component[["sigma"]] <- theta[["sigma"]]
    rows <- switch(kind_of(fit),
      normal = reference_normal(design$Y, of_component),
      regression = reference_regression(design, of_component, family(fit)$family),
      classes = reference_classes(design, of_component)
    )
    prior[, j] <- prior[, j] + rowsum(rows, unit, reorder = FALSE)[, 1]
  }
  unname(prior)
}

row_log_sum_exp <- function(L) {
  top <- apply(L, 1, max)
  top + log(rowSums(exp(L - top)))
}

reference_covariance <- function(of_component, variables) {
  sd <- of_component[paste0("sd__", variables)]
  R <- diag(length(sd))
  R[lower.tri(R)] <- of_component[grep("^cor__", names(of_component))]
  R[upper.tri(R)] <- t(R)[upper.tri(R)]
  R * outer(sd, sd)
}

# What is observed of a row has the marginal law of its entries.
reference_normal <- function(Y, of_component) {
  S <- reference_covariance(of_component, colnames(Y))
  mean <- of_component[paste0("mean__", colnames(Y))]
  vapply(seq_len(nrow(Y)), function(i) {
    seen <- which(!is.na(Y[i, ]))
    if (length(seen) == 0) return(0)
    e <- Y[i, seen] - mean[seen]
    V <- S[seen, seen, drop = FALSE]
    -0.5 * (length(seen) * log(2 * pi) + log(det(V)) + sum(e * solve(V, e)))
  }, 0)
}

reference_regression <- function(design, of_component, family) {
  eta <- drop(design$X %*% of_component[colnames(design$X)])
  if (!is.null(design$offset)) eta <- eta + design$offset
  weights <- if (is.null(design$weights)) 1 else design$weights
  trials <- if (is.null(design$trials)) 1 else design$trials
  switch(family,
    gaussian = dnorm(design$y, eta, of_component[["sigma"]] / sqrt(weights), log = TRUE),
    binomial = dbinom(design$y, trials, plogis(eta), log = TRUE),
    poisson = dpois(design$y, exp(eta), log = TRUE)
  )
}

reference_classes <- function(design, of_component) {
  total <- numeric(nrow(design$Y))
  for (v in seq_len(ncol(design$Y))) {
    name <- design$variables$name[v]
    y <- design$Y[, v]
    of <- function(prefix) of_component[[paste0(prefix, name)]]
    term <- switch(design$variables$type[v],
      categorical = log(of_component[paste0("prob__", name, ".", design$variables$levels[[v]])])[y],
      binomial = log(ifelse(y == 1, of("prob__"), 1 - of("prob__"))),
      gaussian = dnorm(y, of("mean__"), of("sd__"), log = TRUE)
    )
    total <- total + ifelse(is.na(y), 0, term)
  }
  total
}

# Coordinates without constraint of theta, block by block, for models without constraints between
# components: logits relative to the first of a whole, log sds, Fisher's z.
reference_wholes <- function(fit) {
  parameters <- parameters_of(fit)
  whole <- ifelse(parameters$block == "weight", "weight", NA)
  for (v in which(design_of(fit)$variables$type == "categorical")) {
    name <- design_of(fit)$variables$name[v]
    of_variable <- sub("[|].*", "", parameters$name) %in%
      paste0("prob__", name, ".", design_of(fit)$variables$levels[[v]])
    whole[of_variable] <- paste(name, parameters$component[of_variable])
  }
  whole
}

reference_eta <- function(fit) {
  block <- parameters_of(fit)$block
  whole <- reference_wholes(fit)
  eta <- unname(c(theta(fit)))
  scale <- block %in% c("sd", "sigma")
  eta[scale] <- log(eta[scale])
  eta[block == "cor"] <- atanh(eta[block == "cor"])
  single <- block == "prob" & is.na(whole)
  eta[single] <- qlogis(eta[single])
  for (w in unique(na.omit(whole))) {
    rows <- which(whole == w)
    eta[rows] <- log(eta[rows] / eta[rows[1]])
  }
  first <- !is.na(whole) & !duplicated(whole)
  eta[!first]
}

reference_theta <- function(fit, eta) {
  block <- parameters_of(fit)$block
  whole <- reference_wholes(fit)
  first <- !is.na(whole) & !duplicated(whole)
  theta <- numeric(length(block))
  theta[!first] <- eta
  scale <- block %in% c("sd", "sigma")
  theta[scale] <- exp(theta[scale])
  theta[block == "cor"] <- tanh(theta[block == "cor"])
  single <- block == "prob" & is.na(whole)
  theta[single] <- plogis(theta[single])
  for (w in unique(na.omit(whole))) {
    rows <- which(whole == w)
    theta[rows] <- exp(theta[rows]) / sum(exp(theta[rows]))
  }
  setNames(theta, parameters_of(fit)$name)
}

# Observed and sandwich covariances of theta, by finite differences of the reference.
reference_vcov <- function(fit) {
  freq <- if (is.null(design_of(fit)$freq)) 1 else design_of(fit)$freq
  by_unit <- function(eta) row_log_sum_exp(reference_log_joint(fit, reference_theta(fit, eta)))
  eta <- reference_eta(fit)
  H <- numDeriv::hessian(function(eta) sum(freq * by_unit(eta)), eta)
  J <- numDeriv::jacobian(function(eta) reference_theta(fit, eta), eta)
  scores <- numDeriv::jacobian(by_unit, eta)
  inverse <- solve(-H)
  list(observed = J %*% inverse %*% t(J),
       sandwich = J %*% inverse %*% crossprod(scores, freq * scores) %*% inverse %*% t(J))
}
