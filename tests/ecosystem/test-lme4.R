fit <- fit_of("em")
peer <- fit_of("em_lmer")

# lmer stops some 1e-5 off in the ratios of variances.
test_that("getME() has lme4's pieces, in lme4's order and with its names", {
  plain <- function(x) {
    if (methods::is(x, "Matrix")) return(as.matrix(x))
    if (is.list(x)) lapply(x, plain) else x
  }
  names <- c("X", "Z", "Zt", "Ztlist", "A", "mmList", "y", "mu", "u", "b", "Gp", "Lambda",
             "Lambdat", "Lind", "Tlist", "ST", "sigma", "fixef", "beta", "theta", "lower", "REML",
             "is_REML", "n_rtrms", "n_rfacs", "N", "n", "p", "q", "p_i", "l_i", "q_i", "k", "m_i",
             "m", "cnms", "offset", "RX")
  for (name in names) {
    ours <- plain(lme4::getME(fit, name))
    theirs <- plain(lme4::getME(peer, name))
    expect_equal(ours, theirs, tolerance = 1e-3, label = name, ignore_attr = TRUE)
    expect_identical(names(ours), names(theirs), label = paste("the names of", name))
  }
  reml <- lme4::getME(fit_of("reml"), "devcomp")$cmp[c("pwrss", "REML", "sigmaREML")]
  expect_equal(reml, lme4::getME(fit_of("reml_lmer"), "devcomp")$cmp[names(reml)],
               tolerance = 1e-4)
})

test_that("several terms of one group lie as in lme4", {
  ours <- fit_glmm(distance ~ age + (1 | Subject) + (0 + age | Subject), orthodont)
  theirs <- lme4::lmer(distance ~ age + (1 | Subject) + (0 + age | Subject), orthodont,
                       REML = FALSE)
  for (name in c("theta", "Gp", "Lind", "cnms", "m_i")) {
    expect_equal(lme4::getME(ours, name), lme4::getME(theirs, name), tolerance = 1e-2,
                 label = name)
  }
  expect_equal(as.matrix(lme4::getME(ours, "Zt")), as.matrix(lme4::getME(theirs, "Zt")))
})

test_that("singular fits are singular, others not", {
  flat <- transform(orthodont, distance = withr::with_seed(3, rnorm(108)))
  ours <- fit_glmm(distance ~ age + (1 | Subject), flat)
  theirs <- suppressMessages(lme4::lmer(distance ~ age + (1 | Subject), flat, REML = FALSE))
  expect_identical(lme4::isSingular(ours), lme4::isSingular(theirs))
  expect_true(lme4::isSingular(ours))
  expect_false(lme4::isSingular(fit))
  expect_false(lme4::isSingular(fit_of("vb")))
})

test_that("influence of groups is that of lmer", {
  simple <- fit_glmm(distance ~ age + (1 | Subject), orthodont)
  simple_peer <- lme4::lmer(distance ~ age + (1 | Subject), orthodont, REML = FALSE)
  ours <- influence(simple, "Subject")
  theirs <- influence(simple_peer, "Subject")
  shared <- intersect(names(ours), names(theirs))
  expect_gt(length(shared), 8)
  for (name in shared[1:6]) {
    expect_equal(ours[[name]], theirs[[name]], tolerance = 1e-3, label = name, ignore_attr = TRUE)
  }
  expect_equal(cooks.distance(ours), cooks.distance(theirs), tolerance = 1e-3, ignore_attr = TRUE)
  expect_equal(dfbetas(ours), dfbetas(theirs), tolerance = 1e-3, ignore_attr = TRUE)
})

test_that("refits, principal components and counts are those of lmer", {
  drawn <- simulate(fit, seed = 1)
  expect_equal(fixef_values(lme4::refit(fit, drawn)), lme4::fixef(lme4::refit(peer, drawn[[1]])),
               tolerance = 1e-4)
  expect_equal(lme4::rePCA(fit)$Subject$sdev, lme4::rePCA(peer)$Subject$sdev, tolerance = 1e-3)
  expect_equal(lme4::ngrps(fit), lme4::ngrps(peer))
  expect_identical(lme4::ngrps(fit_of("curves")), c(id = 40L))
  expect_true(lme4::isLMM(fit))
  expect_true(lme4::isREML(fit_of("reml")))
})

test_that("lme4's generics meet every kind of fit", {
  expect_tool("getME()", function(fit) lme4::getME(fit, "ALL"), works = mixed_kinds,
              refused = mixture_kinds)
  expect_tool("refit()", function(fit) lme4::refit(fit, simulate(fit, seed = 1)),
              works = setdiff(table_kinds, "curves"))
  expect_tool("hatvalues()", hatvalues, works = c("em", "reml", "vb", "meta"),
              refused = c("joint", mixture_kinds))
  expect_tool("isSingular()", lme4::isSingular, works = mixed_kinds, refused = mixture_kinds)
})
