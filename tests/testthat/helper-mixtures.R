# A mixture of each kind, fitted once.
mixture_examples <- new.env()

mixture_example <- function(name) {
  if (is.null(mixture_examples[[name]])) {
    mixture_examples[[name]] <- withr::with_seed(1, make_mixture(name))
  }
  mixture_examples[[name]]
}

mixture_kinds <- c("normal", "univariate", "missing", "gaussian", "common", "poisson", "binomial",
                   "classes", "copies")

make_mixture <- function(name) {
  switch(name,
    normal = fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 2, covariance = "VVV"),
    univariate = fit_mixture(waiting ~ 1, faithful, k = 2, covariance = "V"),
    missing = {
      gaps <- sim_mixture(150, c(2, 1), mean = rbind(c(a = 0, b = 0, c = 1), c(3, 2, 0)))
      gaps$a[1:9] <- NA
      gaps$b[5:20] <- NA
      fit_mixture(cbind(a, b, c) ~ 1, gaps, k = 2, covariance = "VVV")
    },
    gaussian = fit_mixture(y ~ x1, regression_data(), k = 2, weights = w),
    common = fit_mixture(y ~ x1, regression_data(), k = 2, sigma = ~ 1),
    poisson = {
      counts <- sim_mixture(200, c(2, 1), coefficients = rbind(c(0, 0.5), c(2, -0.5)),
                            family = poisson())
      fit_mixture(y ~ x1, counts, k = 2, family = poisson())
    },
    binomial = fit_mixture(y ~ x1, unit_data(), k = 2, family = binomial(), unit = ~ unit,
                           membership = ~ w),
    classes = fit_mixture(responses(colour, smokes, x) ~ 1, class_data(), k = 2),
    copies = fit_mixture(responses(Sex, Age, Survived) ~ 1, as.data.frame(Titanic), k = 2,
                         freq = Freq),
    joint = fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 2, covariance = "VVV",
                        method = "joint"),
    vb = fit_mixture(y ~ x1, regression_data(), k = 2, method = "vb"),
    vb_normal = fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 4, covariance = "VVV",
                            method = "vb"),
    vb_classes = fit_mixture(responses(colour, smokes, x) ~ 1, class_data(), k = 3, method = "vb"),
    vb_sticks = fit_mixture(responses(colour, smokes, x) ~ 1, class_data(), k = 3, method = "vb",
                            prior = priors(weight = stick_breaking(1)))
  )
}

regression_data <- function() {
  d <- sim_mixture(200, c(2, 1), coefficients = rbind(c(0, 1), c(3, -1)), sigma = c(0.5, 0.8))
  d$w <- runif(200, 0.5, 2)
  d
}

# Units of 6 rows, apart from each other in the data.
unit_data <- function() {
  d <- sim_mixture(100, c(2, 1), coefficients = rbind(c(-1, 1), c(1, -1)), family = binomial(),
                   rows = 6)
  d$w <- rnorm(100)[d$unit]
  d[sample(nrow(d)), ]
}

class_data <- function() {
  sim_mixture(300, c(2, 1), mean = cbind(x = c(0, 2)), probability = list(
    colour = rbind(c(red = 0.7, green = 0.2, blue = 0.1), c(0.1, 0.2, 0.7)), smokes = c(0.8, 0.2)
  ))
}
