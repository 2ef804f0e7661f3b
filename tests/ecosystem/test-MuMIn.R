test_that("dredge() keeps the random terms in every model, as of lmer()", {
  withr::local_options(na.action = "na.fail")
  fit <- fit_of("em")
  peer <- fit_of("em_lmer")
  table <- as.data.frame(MuMIn::dredge(fit))
  theirs <- as.data.frame(MuMIn::dredge(peer))
  expect_equal(table$df, theirs$df)
  expect_equal(table$AICc, theirs$AICc, tolerance = 1e-6)
})

test_that("a double bar is no fixed term", {
  withr::local_options(na.action = "na.fail")
  fit <- fit_glmm(distance ~ age + (age || Subject), orthodont)
  table <- as.data.frame(MuMIn::dredge(fit))
  expect_equal(sort(table$df), sort(c(6, 5) - 1))
  expect_false("age || Subject" %in% names(table))
})
