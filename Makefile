# A thin front to Meson and the test runners: `make demo` and `make test` are all a new machine needs.
# Debian's own Python and tools are used, whatever else the PATH offers first.
export PATH := /usr/bin:/bin:/usr/sbin:/sbin:$(PATH)
SHELL := /bin/bash
PYTHON := /usr/bin/python3
BUILD := build
SANITIZED := build-asan
FUZZ := build-fuzz
FUZZ_SECONDS ?= 60
PREFIX ?= /usr/local
# Whether warnings fail this build, too; the sanitized one and lint (clang) never let them pass.
WERROR ?= false

.PHONY: build demo test test-unit test-e2e test-sanitized test-full bench lint format fuzz install deb clean

build: $(BUILD)/build.ninja
	@ninja -C $(BUILD) --quiet

$(BUILD)/build.ninja:
	@tools/deps build
	@meson setup $(BUILD) --prefix=$(PREFIX) -Dwerror=$(WERROR) >/dev/null || { cat $(BUILD)/meson-logs/meson-log.txt; exit 1; }

# A client's HTTPS requests through an edge without a private key.
demo: build
	@tools/deps demo
	@$(BUILD)/farkey demo $(DEMO)
ifeq ($(DEMO),)
	@echo
	@echo "Now with certificates of clients, told to the origin by RFC 9440 and by a cookie"
	@echo
	@$(BUILD)/farkey demo --relay rfc9440,cookie
endif

# Unit tests, the same under sanitizers, end-to-end tests with real programs.
test: test-unit test-sanitized test-e2e

test-unit: build
	@meson test -C $(BUILD) --suite unit --print-errorlogs

$(SANITIZED)/build.ninja:
	@tools/deps build
	@meson setup $(SANITIZED) -Db_sanitize=address,undefined -Db_lundef=false \
	    -Drelaxed_sandbox=true -Dwerror=true >/dev/null

test-sanitized: $(SANITIZED)/build.ninja
	@ninja -C $(SANITIZED) --quiet
	@ASAN_OPTIONS=detect_stack_use_after_return=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
	    meson test -C $(SANITIZED) --suite unit --print-errorlogs

test-e2e: build
	@tools/deps test
	@cd tests/e2e && FARKEY=$(CURDIR)/$(BUILD)/farkey $(PYTHON) -m pytest -q -n 4 -m 'not long' $(PYTEST)

# Everything: also the long matrices and faults, more random connections through the inline box, and
# the end-to-end suite with sanitized daemons.
test-full: test
	@FK_SIM_FIRST=100001 FK_SIM_CASES=1000000 $(BUILD)/tests/unit/test_inline_property
	@cd tests/e2e && FARKEY=$(CURDIR)/$(BUILD)/farkey $(PYTHON) -m pytest -q -n 2 -m long $(PYTEST)
	@cd tests/e2e && FARKEY=$(CURDIR)/$(SANITIZED)/farkey FARKEY_SANITIZED=1 \
	    $(PYTHON) -m pytest -q -n 2 -m 'not unsanitized' $(PYTEST)
	@$(MAKE) --no-print-directory fuzz FUZZ_SECONDS=20

bench: build
	@tools/deps bench
	@$(PYTHON) bench/run.py $(BENCH)

lint:
	@tools/deps build lint
	@$(MAKE) --no-print-directory $(BUILD)/build.ninja
	@$(PYTHON) tools/lint/run.py

format:
	@git ls-files 'src/*.[ch]' 'tests/*.[ch]' 'bench/*.[ch]' | xargs clang-format-14 -i

$(FUZZ)/build.ninja:
	@tools/deps build fuzz
	@CC=clang-14 meson setup $(FUZZ) -Dfuzz=true -Dtests=false -Dwerror=true -Db_sanitize=address,undefined \
	    -Db_lundef=false >/dev/null

fuzz: $(FUZZ)/build.ninja
	@ninja -C $(FUZZ) --quiet
	@tools/fuzz $(FUZZ) $(FUZZ_SECONDS)

install: build
	@meson configure $(BUILD) -Dprefix=$(PREFIX)
	@ninja -C $(BUILD) --quiet
	@meson install -C $(BUILD) --no-rebuild --quiet
	@packaging/install "$(DESTDIR)" "$(PREFIX)"

# A Debian package, build-deb/farkey_*.deb.
deb:
	@tools/deps build deb
	@packaging/deb build-deb

clean:
	rm -rf $(BUILD) $(SANITIZED) $(FUZZ) build-deb
