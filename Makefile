# pg_journey: the extension (PGXS) and the relay (plain make, src/relay)

EXTENSION  = pg_journey
EXTVERSION = $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" $(EXTENSION).control)
MODULE_big = $(EXTENSION)

OBJS = $(patsubst %.c,%.o,$(filter-out src/relay/% %_gram.c %_scan.c,$(wildcard src/*.c src/*/*.c))) \
       $(patsubst %.y,%.o,$(wildcard src/*/*_gram.y)) $(patsubst %.l,%.o,$(wildcard src/*/*_scan.l))
PG_CPPFLAGS = -I$(srcdir)/src
PG_CFLAGS   = -std=gnu99 -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers -Wno-declaration-after-statement
SHLIB_LINK  = -Wl,--version-script=$(srcdir)/src/exports.map

# order matters: a part may only use objects of the parts above it
SQL_PARTS  = $(sort $(wildcard sql/[0-9]*.sql))
DATA       = $(wildcard sql/upgrade/$(EXTENSION)--*--*.sql)
DATA_built = $(EXTENSION)--$(EXTVERSION).sql

REGRESS       = $(sort $(patsubst test/sql/%.sql,%,$(wildcard test/sql/*.sql)))
REGRESS_OPTS  = --inputdir=test --temp-instance=tmp_check_regress --temp-config=test/regress.conf
ISOLATION     = $(sort $(patsubst test/isolation/specs/%.spec,%,$(wildcard test/isolation/specs/*.spec)))
ISOLATION_OPTS = --inputdir=test/isolation --temp-instance=tmp_check_iso --temp-config=test/regress.conf
TAP_TESTS     = 1
PROVE_TESTS   = test/t/*.pl

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# OR REPLACE suits upgrade scripts; in an install script it would adopt an
# object somebody planted there first (CVE-2022-2625).
$(EXTENSION)--$(EXTVERSION).sql: $(SQL_PARTS) $(EXTENSION).control
	sed 's/^CREATE OR REPLACE /CREATE /' $(SQL_PARTS) > $@

# PGXS tracks headers only if the server was configured to; do it ourselves
override CFLAGS += -MMD -MP
-include $(OBJS:.o=.d)
