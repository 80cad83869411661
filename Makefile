# eda: events for PostgreSQL.
#
#   make            builds eda.so and eda--VERSION.sql      PG_CONFIG=... picks the server
#   make install    puts them into that server              DESTDIR=... as usual
#   make check      runs every test in a throw-away cluster KINDS="regress tap" TESTS="..." KEEP=1
#   make demo       the nightly orders, end to end, in a throw-away cluster
#
# check and demo build in a private copy of the tree, so they need nothing
# that this file builds, and neither does this file need them.

EXTVERSION = 0.1.0

MODULE_big = eda
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c)))
EXTENSION = eda
DATA_built = eda--$(EXTVERSION).sql
DATA = $(sort $(wildcard src/sql/upgrade/eda--*--*.sql))

# PGXS tracks no headers: the compiler writes which ones each object read.
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare \
	-Wno-missing-field-initializers -MMD -MP
DEPS = $(OBJS:.o=.d)
EXTRA_CLEAN = $(sort $(DEPS) $(wildcard src/*.o src/*.bc src/*.d eda--*.sql))

PG_CONFIG ?= pg_config

all:

OWN_GOALS = check demo
ifneq ($(filter-out $(OWN_GOALS),$(or $(MAKECMDGOALS),all)),)

PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
ifeq ($(wildcard $(PGXS)),)
$(error $(shell PG_CONFIG='$(PG_CONFIG)' bash test/lib/prepare.sh --say))
endif
include $(PGXS)

# In name order; the number in front says where a file belongs.
SQL_PARTS = $(sort $(wildcard src/sql/*.sql))

$(DATA_built): $(SQL_PARTS) Makefile
	cat $(SQL_PARTS) >$@.tmp
	mv $@.tmp $@

$(OBJS:.o=.bc): $(wildcard src/*.h)

-include $(DEPS)

endif

ifneq ($(filter check,$(MAKECMDGOALS)),)
check:
	@exec env PG_CONFIG='$(PG_CONFIG)' KINDS='$(KINDS)' TESTS='$(TESTS)' KEEP='$(KEEP)' bash test/run.sh
endif

demo:
	@exec env PG_CONFIG='$(PG_CONFIG)' bash examples/demo.sh

.PHONY: all check demo
