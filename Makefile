# eda: events for PostgreSQL.
#
#   make            builds eda.so and eda--VERSION.sql      PG_CONFIG=... picks the server
#   make install    puts them into that server              DESTDIR=... as usual
#   make check      runs every test in a throw-away cluster KINDS="regress tap" TESTS="..." KEEP=1 JOBS=2
#   make check-long runs the randomized test for longer     SEEDS="1 2 3" STEPS=5000 MINUTES=60
#   make check-faults  shows that it catches deliberate faults    FAULTS="..." SEEDS=... STEPS=...
#   make check-memory  shows that no process' memory grows under load    MINUTES=10
#   make check-clients  the programs of examples/clients with their drivers, where these are installed
#   make check-valgrind  the JSON Schema test suite and fuzzing under valgrind
#   make reference  writes docs/reference.md anew from the catalog
#   make bench      measures eda beside its peers          ROWS="1 5 8" REPS=5 QUICK=1 SAVE=DIR
#   make demo       the nightly orders, end to end, in a throw-away cluster
#
# All but the first two build in a private copy of the tree, so they need nothing
# that this file builds, and neither does this file need them.

EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'.*/\1/p" eda.control)

MODULE_big = eda
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c src/*/*.c)))
EXTENSION = eda
DATA_built = eda--$(EXTVERSION).sql
# Earlier versions, as they were installed, and the ways from each to the next.
DATA = $(sort $(wildcard src/upgrade/eda--*.sql))

# PGXS tracks no headers: the compiler writes which ones each object read.
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare \
	-Wno-missing-field-initializers -MMD -MP
DEPS = $(OBJS:.o=.d)
EXTRA_CLEAN = $(sort $(DEPS) $(wildcard $(foreach e,o bc d,src/*.$(e) src/*/*.$(e)) eda--*.sql))

# PCRE2 for the patterns of JSON Schema: PCRE2_CONFIG=... picks another one.
PCRE2_CONFIG ?= pcre2-config
PG_CPPFLAGS = -Isrc -DEDA_VERSION='"$(EXTVERSION)"' $(shell $(PCRE2_CONFIG) --cflags 2>/dev/null)
SHLIB_LINK = $(shell $(PCRE2_CONFIG) --libs8 2>/dev/null)

PG_CONFIG ?= pg_config

all:

OWN_GOALS = check check-long check-faults check-memory check-clients check-valgrind reference bench demo
ifneq ($(filter-out $(OWN_GOALS),$(or $(MAKECMDGOALS),all)),)

ifeq ($(shell $(PCRE2_CONFIG) --version 2>/dev/null),)
$(error eda needs PCRE2 with its headers; Debian calls them libpcre2-dev. $(PCRE2_CONFIG) is not there: name one with PCRE2_CONFIG=/path/to/pcre2-config)
endif
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
SERVER_H := $(shell $(PG_CONFIG) --includedir-server 2>/dev/null)/postgres.h
ifneq ($(words $(wildcard $(PGXS) $(SERVER_H))),2)
$(error $(shell PG_CONFIG='$(PG_CONFIG)' bash test/lib/prepare.sh --say))
endif
include $(PGXS)

# In name order; the number in front says where a file belongs.
SQL_PARTS = $(sort $(wildcard src/sql/*.sql))

$(DATA_built): $(SQL_PARTS) Makefile
	cat $(SQL_PARTS) >$@.tmp
	mv $@.tmp $@

$(OBJS:.o=.bc): $(wildcard src/*.h src/*/*.h)

# It says which version of the SQL objects the library is for.
src/base/catalog.o src/base/catalog.bc: eda.control

-include $(DEPS)

endif

ifneq ($(filter check,$(MAKECMDGOALS)),)
check:
	@exec env PG_CONFIG='$(PG_CONFIG)' KINDS='$(KINDS)' TESTS='$(TESTS)' KEEP='$(KEEP)' JOBS='$(JOBS)' bash test/run.sh
endif

check-long: KINDS = model
check-long: STEPS = 5000
check-long: SEEDS = $(if $(MINUTES),1,1 2 3)
check-long:
	@exec env PG_CONFIG='$(PG_CONFIG)' KINDS='$(KINDS)' SEEDS='$(SEEDS)' STEPS='$(STEPS)' MINUTES='$(MINUTES)' KEEP='$(KEEP)' JOBS='$(JOBS)' bash test/run.sh

check-faults:
	@exec env PG_CONFIG='$(PG_CONFIG)' FAULTS='$(FAULTS)' SEEDS='$(SEEDS)' STEPS='$(STEPS)' bash test/model/faults.sh

check-memory: MINUTES = 10
check-memory:
	@exec env PG_CONFIG='$(PG_CONFIG)' KINDS=tap TESTS=047_memory EDA_MEMORY_MINUTES='$(MINUTES)' KEEP='$(KEEP)' JOBS=1 bash test/run.sh

check-clients:
	@exec env PG_CONFIG='$(PG_CONFIG)' bash test/clients.sh

check-valgrind:
	@exec env PG_CONFIG='$(PG_CONFIG)' bash test/jsonschema/valgrind.sh

reference:
	@exec env PG_CONFIG='$(PG_CONFIG)' KINDS=reference EDA_REFERENCE_WRITE=1 bash test/run.sh

bench:
	@exec env PG_CONFIG='$(PG_CONFIG)' ROWS='$(ROWS)' REPS='$(REPS)' QUICK='$(QUICK)' SAVE='$(SAVE)' bash bench/run.sh

demo:
	@exec env PG_CONFIG='$(PG_CONFIG)' bash examples/demo.sh

.PHONY: all check check-long check-faults check-memory check-clients check-valgrind reference bench demo
