# make demo   the main job, from a bare machine to demo/report.html
# make test   every test, ending with the line "N passed, N failed, N skipped"
# make quick  installs without help pages and runs the tests with FILTER in their names
#
# Everything that is built goes to .build/, the installed package to .build/lib.

R := R
RSCRIPT := Rscript
WERROR := -Werror
LIB := $(CURDIR)/.build/lib
WITH_LIB := R_LIBS="$(LIB)$${R_LIBS:+:$$R_LIBS}"
VERSION := $(shell sed -n 's/^Version: *//p' DESCRIPTION)
TARBALL := .build/elbo_$(VERSION).tar.gz
SOURCES := $(shell find DESCRIPTION NAMESPACE .Rbuildignore R data inst man src \
             tests/testthat.R tests/testthat vignettes -type f ! -name '*.o' ! -name '*.so' 2>/dev/null)
CTEST := $(MAKE) -s -C tests/c R=$(R) WERROR=$(WERROR)

# A bare Linux has no locale but this one that can print UTF-8.
ifeq ($(shell uname),Linux)
export LANG ?= C.UTF-8
endif

.PHONY: demo test quick fuzz deps developer document build install ctest testthat ecosystem check pure api \
        c23 lint format asan valgrind gctorture coverage bench clean

demo: deps install
	@$(WITH_LIB) $(RSCRIPT) demo/run.R

test: deps install
	@tools/install-dependencies ecosystem
	@$(WITH_LIB) tools/run-tests "$(MAKE)"

# make quick FILTER=frame: for the minute between two edits; needs what `make deps` installs.
FILTER :=
quick:
	@tools/quick "$(MAKE)" "$(FILTER)"

deps:
	@tools/install-dependencies

developer:
	@tools/install-dependencies developer

document:
	@$(RSCRIPT) tools/document.R

build: $(TARBALL)

install: $(LIB)/elbo/DESCRIPTION

$(TARBALL): $(SOURCES)
	@tools/build

$(LIB)/elbo/DESCRIPTION: $(TARBALL)
	@mkdir -p $(LIB)
	@$(R) CMD INSTALL --library="$(LIB)" $(TARBALL) >.build/install.log 2>&1 || \
	  { cat .build/install.log; exit 1; }

# The parts of `make test`, each of them alone.

ctest:
	@$(CTEST) run

testthat: install
	@$(WITH_LIB) $(RSCRIPT) tools/testthat.R

# The packages around, those that only CRAN has included (`make test` takes these if they are there).
ecosystem: deps install
	@ELBO_TEST_LEVEL=$${ELBO_TEST_LEVEL:-2} tools/install-dependencies ecosystem
	@$(WITH_LIB) $(RSCRIPT) tools/ecosystem.R

# Twice: as CRAN does it, and with nothing installed but what the package imports.
check: deps build
	@tools/check $(TARBALL)
	@_R_CHECK_DEPENDS_ONLY_=true tools/check $(TARBALL)
	@echo 'R CMD check: no error, warning or note'

pure:
	@$(CTEST) objects
	@tools/check-pure .build/c

api: install
	@tools/check-api "$(LIB)/elbo/libs/elbo.so"

c23:
	@tools/check-c23

# Generated calls, odd and sensible: a result, a documented NA, or a condition of ours.
CASES := 20000
fuzz: install
	@$(WITH_LIB) $(RSCRIPT) tests/fuzz/fuzz.R $(CASES)

# Under memory checkers: the C tests, then the package.

SANITIZE := -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
asan: build
	@$(CTEST) run OUT=$(CURDIR)/.build/asan EXTRA='$(SANITIZE)'
	@mkdir -p .build/asan/lib
	@echo 'CFLAGS = -g $(SANITIZE)' >.build/asan/Makevars
	@R_MAKEVARS_USER=$(CURDIR)/.build/asan/Makevars $(R) CMD INSTALL --no-test-load \
	  --library=.build/asan/lib $(TARBALL) >.build/asan/install.log 2>&1 || \
	  { cat .build/asan/install.log; exit 1; }
	@R_LIBS="$(CURDIR)/.build/asan/lib" ASAN_OPTIONS=detect_leaks=0 \
	  LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
	  $(RSCRIPT) tools/testthat.R

VALGRIND := valgrind --quiet --error-exitcode=1 --leak-check=full
valgrind: install
	@$(CTEST) run RUN='$(VALGRIND)'
	@$(WITH_LIB) $(R) -d '$(VALGRIND) --leak-check=no' --no-save --no-restore --no-echo -f tools/exercise.R

gctorture: install
	@$(WITH_LIB) $(RSCRIPT) tools/exercise.R gctorture

# For developers: `make developer` installs what these need.

lint:
	@$(RSCRIPT) -e 'found <- lintr::lint_package(); print(found); quit(status = length(found) > 0)'
	@clang-format --dry-run -Werror src/init.c src/*/*.[ch] tests/c/*.[ch]

format:
	@clang-format -i src/init.c src/*/*.[ch] tests/c/*.[ch]

coverage:
	@$(RSCRIPT) -e 'found <- covr::package_coverage(); print(found); covr::zero_coverage(found)'

bench: deps install
	@for file in bench/*.R; do echo "== $$file"; $(WITH_LIB) $(RSCRIPT) $$file || exit 1; done

clean:
	@rm -rf .build demo/report.html
