.onLoad <- function(libname, pkgname) announce_to_marginaleffects()

.onUnload <- function(libpath) library.dynam.unload("elbo", libpath)
