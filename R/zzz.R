.onUnload <- function(libpath) library.dynam.unload("elbo", libpath)
