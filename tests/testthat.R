library(testthat)
library(elbo)

test_check("elbo")
