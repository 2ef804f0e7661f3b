test_that("the settings are validated and typed", {
  control <- elbo_control(max_iter = 5, threads = 2, n_starts = 3, seed = 1)
  expect_s3_class(control, "elbo_control")
  expect_named(control, setdiff(names(formals(elbo_control)), "..."))
  expect_identical(control$max_iter, 5L)
  expect_identical(control$seed, 1L)
  expect_null(elbo_control()$threads)
})

test_that("settings out of range are refused", {
  refused <- function(expr) expect_error(expr, class = "elbo_error_argument")
  refused(elbo_control(tol = 0))
  refused(elbo_control(tol = c(1, 2)))
  refused(elbo_control(max_iter = 0))
  refused(elbo_control(accelerate = "turbo"))
  refused(elbo_control(threads = -1))
  refused(elbo_control(n_starts = 1.5))
  refused(elbo_control(quadrature = "many"))
  refused(elbo_control(quadrature = 1001))
  refused(elbo_control(seed = 1e10))
  refused(elbo_control(progress = NA))
})

test_that("the settings print", {
  expect_snapshot({
    elbo_control(accelerate = "none", seed = 1)
    refusal(elbo_control(tol = -1))
    refusal(elbo_control(accelerate = "turbo"))
  })
})

test_that("progress is shown to people only", {
  expect_true(show_progress(elbo_control(progress = TRUE)))
  expect_false(show_progress(elbo_control(progress = FALSE)))
  expect_identical(show_progress(elbo_control()), interactive())
  old <- options(knitr.in.progress = TRUE)
  on.exit(options(old))
  expect_false(show_progress(elbo_control()))
})

test_that("a number of nodes is refused where nothing is integrated by quadrature", {
  control <- elbo_control(quadrature = 7)
  refused <- function(expr) expect_error(expr, "closed form", class = "elbo_error_argument")
  refused(fit_glmm(distance ~ age + (1 | Subject), nlme::Orthodont, control = control))
  refused(fit_mixture(Sepal.Length ~ 1, iris, k = 2, control = control))
})
