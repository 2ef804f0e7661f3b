test_that("a catalogue that is written is read again", {
  skip_if_not_installed("FITSio")
  set.seed(2)
  fit <- fit_sky(sim_sky(64, 64, n = 4), control = elbo_control(progress = FALSE))
  found <- cbind(catalog(fit), bright = c(TRUE, FALSE, NA, TRUE)[seq_len(nrow(catalog(fit)))],
                 note = "a star")
  file <- withr::local_tempfile(fileext = ".fits")
  expect_identical(write_fits(found, file), file)
  expect_equal(file.size(file) %% 2880, 0)
  table <- FITSio::readFITS(file, hdu = 1)
  expect_identical(trimws(table$colNames), names(found))
  for (column in c("x", "flux", "flux_sd", "p_galaxy", "chi2")) {
    expect_identical(as.vector(table$col[[match(column, names(found))]]), found[[column]])
  }
  expect_equal(as.vector(table$col[[1]]), found$id)
  expect_identical(trimws(table$col[[ncol(found)]]), found$note)
})

test_that("what is no table is refused", {
  file <- tempfile()
  expect_error(write_fits(1, file), class = "elbo_error_argument")
  expect_error(write_fits(data.frame(a = I(list(1))), file), "`a`", class = "elbo_error_argument")
  expect_error(write_fits(data.frame(a = 1), 1), class = "elbo_error_argument")
  expect_error(write_fits(data.frame(a = 1), file, name = NA), class = "elbo_error_argument")
  expect_false(file.exists(file))
})
