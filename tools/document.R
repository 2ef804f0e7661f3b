# NAMESPACE and man/ from the comments in R/, without compiling anything in the tree.
suppressPackageStartupMessages(roxygen2::roxygenise(load_code = function(path) {
  env <- roxygen2::load_source(path)
  for (data in dir(file.path(path, "data"), full.names = TRUE)) load(data, env)
  env
}))
