choice <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 1:3, covariance = c("EEI",
                                                                                       "EEE"))

test_that("selection() tabulates every candidate", {
  table <- selection(choice)
  expect_s3_class(table, "elbo_selection")
  expect_true(all(c("k", "covariance", "criterion", "df", "objective", "entropy", "ICL",
                    "status") %in%
                    names(table)))
  best <- table[attr(table, "chosen"), ]
  expect_identical(best$k, n_components(choice))
  expect_identical(best$covariance, covariance_model(choice))
  expect_equal(best$criterion, BIC(choice))
  expect_equal(best$criterion, min(table$criterion))
  # As single fits have it.
  other <- fit_mixture(cbind(eruptions, waiting) ~ 1, faithful, k = 2, covariance = "EEI")
  row <- table[table$k == 2 & table$covariance %in% "EEI", ]
  expect_equal(row$criterion, BIC(other))
  expect_equal(row$df, attr(logLik(other), "df"))
})

test_that("its print shows the choice", {
  expect_snapshot(print(selection(choice)))
  regression <- fit_mixture(dist ~ speed, cars, k = 1:2, sigma = ~ 1)
  expect_snapshot(print(selection(regression)))
  # A part of the table is a plain data frame.
  expect_output(print(selection(choice)[1:2, c("k", "df")]), "df")
})

test_that("what could not be fitted is said", {
  table <- selection(choice)
  table$criterion[1] <- NA
  table$status[1] <- "component 1 collapsed"
  expect_output(print(table), "No fit of k = 1.*component 1 collapsed")
})
