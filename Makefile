# pg_journey: the extension (PGXS) and the relay (plain make, src/relay)
#
# Building and installing follow PostgreSQL's custom: make, make install,
# make installcheck, with PG_CONFIG naming the server.  The targets of the first
# half make their own throw-away installation and need no PostgreSQL yet.

SANDBOX_TARGETS = help check check-% demo bench bench-% crash crash-sabotage gate-model gate-load gate-sabotage segments segments-sabotage consent-race fuzz format format-check lint

GOALS = $(or $(MAKECMDGOALS),all)
ifeq ($(filter-out $(SANDBOX_TARGETS),$(GOALS)),)

help:
	@echo 'make                  build the extension and the relay'
	@echo 'make install          install them where PG_CONFIG says'
	@echo 'make installcheck     regress, isolation and TAP tests of what is installed'
	@echo 'make clean            remove what was built'
	@echo 'make symbols          fail if the library exports more than it should'
	@echo
	@echo 'On Debian 12, installing packages as needed, in a throw-away installation:'
	@echo 'make demo             a year of a real shop in a minute'
	@echo 'make check            every test'
	@echo 'make check-SUITE      one suite: house unit regress isolation tap fuzz segments gate-model crash sabotage segments-sabotage gate-sabotage'
	@echo 'make crash            kill and recover for CYCLES=200 cycles'
	@echo 'make crash-sabotage   prove that it notices faults planted on purpose'
	@echo 'make gate-model       random histories against a model of the gate for CYCLES=300 cycles; SEED=n'
	@echo 'make gate-load        8 callers on 50 hot contacts with a cap, DECISIONS=1000000'
	@echo 'make consent-race     withdrawals and suppressions against claims, RACES=100000 times'
	@echo 'make gate-sabotage    prove that the tests of the gate notice faults planted on purpose'
	@echo 'make segments         random segments against plain SQL for CYCLES=500 cycles; SEED=n'
	@echo 'make segments-sabotage prove that it notices faults planted on purpose'
	@echo 'make fuzz             run the fuzz targets for SECONDS=60 each'
	@echo 'make bench            all figures; BENCH_SHORT=1 for a quick look'
	@echo 'make bench-NAME       one: tick churn latency relay capture gate segment'
	@echo
	@echo 'make format           format C sources (clang-format 14)'
	@echo 'make format-check     fail if formatting would change something'
	@echo 'make lint             clang-tidy, cppcheck and shellcheck, those that are installed'

check:
	@test/run.sh

check-%:
	@test/run.sh $*

demo:
	@demo/run.sh

crash:
	@CRASH_CYCLES=$(or $(CYCLES),200) test/run.sh crash

consent-race:
	@CONSENT_RACES=$(or $(RACES),100000) test/run.sh consent-race

crash-sabotage:
	@test/crash/sabotage.sh $(CYCLES)

gate-model:
	@GATE_CYCLES=$(or $(CYCLES),300) test/run.sh gate-model

gate-load:
	@CAP_DECISIONS=$(or $(DECISIONS),1000000) test/run.sh gate-load

gate-sabotage:
	@test/gate/sabotage.sh $(CYCLES)

segments:
	@SEGMENT_CYCLES=$(or $(CYCLES),500) test/run.sh segments

segments-sabotage:
	@test/segment/sabotage.sh $(CYCLES)

fuzz:
	@FUZZ_SECONDS=$(or $(SECONDS),60) test/run.sh fuzz

bench:
	@test/bench/run.sh

bench-%:
	@test/bench/run.sh $*

bench-segment:
	@test/bench/run.sh segment segment_insert segment_peers segment_lag

format:
	clang-format-14 -i $(C_SOURCES)

format-check:
	clang-format-14 --dry-run --Werror $(C_SOURCES)

lint:
	@tools/lint.sh

C_SOURCES = $(sort $(wildcard src/*.[ch] src/*/*.[ch]))
C_SOURCES := $(filter-out %_gram.c %_gram.h %_scan.c,$(C_SOURCES))

.PHONY: $(filter-out %-%,$(SANDBOX_TARGETS)) bench-segment format-check

else

EXTENSION  = pg_journey
EXTVERSION = $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" $(EXTENSION).control)
MODULE_big = $(EXTENSION)

# in the order data flows
OBJS = \
       src/pg_journey.o src/guc.o src/clock.o src/board.o src/sha256.o src/wakeup.o src/plan.o src/kept.o src/box.o src/append.o src/rewrite.o \
       src/contact/site.o src/contact/attach.o src/contact/elevate.o src/contact/administer.o \
       src/capture/capture.o src/capture/compile.o src/capture/trigger.o src/capture/run.o src/capture/event.o \
       src/capture/track.o src/capture/error.o \
       src/segment/compile.o src/segment/refuse.o src/segment/expand.o src/segment/inline.o src/segment/trace.o \
       src/segment/layout.o src/segment/over.o src/segment/correlate.o src/segment/way.o src/segment/find.o src/segment/opaque.o src/segment/describe.o \
       src/segment/boundary.o src/segment/boundary_comparison.o src/segment/boundary_atom.o src/segment/boundary_query.o src/segment/boundary_build.o src/segment/boundary_rows.o src/segment/boundary_narrow.o src/segment/flip.o src/segment/flip_program.o src/segment/flip_stage.o src/segment/flip_piece.o src/segment/flip_bound.o src/segment/flip_plain.o src/segment/flip_memory.o \
       src/segment/statement.o src/segment/budget.o src/segment/functions.o src/segment/record.o \
       src/segment/definition.o src/segment/recompile.o src/segment/source.o src/segment/watch.o src/segment/partition.o src/segment/explain.o \
       src/segment/watched.o src/segment/mark.o src/segment/member.o src/segment/segments.o src/segment/check.o src/segment/change.o \
       src/segment/progress.o src/segment/news.o src/segment/follow.o src/segment/pass.o src/segment/scan.o \
       src/segment/explain_member.o src/segment/size.o \
       src/script/script_scan.o src/script/script_token.o src/script/script_gram.o src/script/script_names.o \
       src/script/interval.o src/script/script_check.o src/script/script_step.o src/script/expression.o src/script/expression_rewrite.o \
       src/script/script_graph.o src/script/script_insert.o src/script/bound.o src/script/journey.o src/script/diagram.o \
       src/engine/definition.o src/engine/rows.o src/engine/tick.o src/engine/fresh.o src/engine/source.o src/engine/batch.o src/engine/run.o \
       src/engine/prepare.o src/engine/intake.o src/engine/react.o src/engine/recall.o src/engine/enter.o src/engine/entry_cap.o src/engine/wave.o \
       src/engine/step.o src/engine/send.o src/engine/evaluate.o src/engine/evict.o src/engine/claim.o src/engine/offer.o src/engine/handover.o src/engine/outcome.o src/engine/forecast.o \
       src/engine/report.o src/engine/report_write.o src/engine/report_address.o src/engine/launcher.o src/engine/workers.o \
       src/engine/worker.o \
       src/gate/gate.o src/gate/scope.o src/gate/topic.o \
       src/gate/consented.o src/gate/contacted.o src/gate/zone.o src/gate/local.o src/gate/quiet_rule.o src/gate/quiet.o \
       src/gate/choose.o src/gate/engagement.o src/gate/send_hours.o src/gate/send_time.o src/gate/send_times.o \
       src/gate/cap.o src/gate/cap_definition.o src/gate/cap_law.o src/gate/cap_preview.o src/gate/slot.o src/gate/rival.o \
       src/gate/consent.o src/gate/consent_request.o src/gate/consent_import.o src/gate/preference.o src/gate/unsettled.o \
       src/gate/suppress.o src/gate/suppressed.o src/gate/onlooker.o src/gate/hold.o src/gate/addressed.o src/gate/address_rule.o src/gate/ledger.o src/gate/argument.o \
       src/gate/verdict.o \
       src/outbox/definition.o src/outbox/outbox.o src/outbox/span.o src/outbox/relay.o src/outbox/address.o src/outbox/fold.o src/outbox/render.o \
       src/outbox/preview.o src/outbox/liquid_parse.o src/outbox/liquid_expr.o src/outbox/liquid_render.o \
       src/outbox/liquid_value.o src/outbox/liquid_filter.o src/outbox/liquid_text.o src/outbox/liquid_date.o \
       src/feedback/receipt.o \
       src/measure/fraction.o src/measure/stat.o src/measure/special.o src/measure/rate.o src/measure/hours.o
PG_CPPFLAGS = -I$(srcdir)/src
PG_CFLAGS   = -std=gnu99 -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers -Wno-declaration-after-statement
SHLIB_LINK  = -Wl,--version-script=$(srcdir)/src/exports.map

# order matters: a part may only use objects of the parts above it
SQL_PARTS = \
             sql/00_header.sql sql/10_contact.sql sql/15_state.sql sql/16_maintain.sql sql/20_capture.sql \
             sql/24_flip.sql sql/25_segment.sql sql/26_membership.sql sql/26_rfm.sql sql/27_segment_site.sql sql/28_segment_read.sql \
             sql/30_script.sql sql/40_engine.sql sql/42_worker.sql sql/50_gate.sql sql/51_cap.sql \
             sql/52_quiet.sql sql/52_country_zone.sql \
             sql/53_suppression.sql \
             sql/54_engagement.sql \
             sql/60_outbox.sql \
             sql/62_preview.sql sql/70_feedback.sql sql/80_measure.sql sql/81_performance.sql \
             sql/82_views.sql sql/83_explain.sql sql/84_health.sql sql/85_check.sql sql/86_forecast.sql sql/90_privileges.sql \
             sql/95_dump.sql
DATA       = $(wildcard sql/upgrade/$(EXTENSION)--*--*.sql)
DATA_built = $(EXTENSION)--$(EXTVERSION).sql

REGRESS       = $(sort $(patsubst test/sql/%.sql,%,$(wildcard test/sql/*.sql)))
REGRESS_OPTS  = --inputdir=test --encoding=UTF8 --no-locale --temp-instance=tmp_check_regress --temp-config=test/regress.conf
ISOLATION     = $(sort $(patsubst test/isolation/specs/%.spec,%,$(wildcard test/isolation/specs/*.spec)))
ISOLATION_OPTS = --inputdir=test/isolation --temp-instance=tmp_check_iso --temp-config=test/regress.conf
TAP_TESTS     = 1
PROVE_TESTS   = test/t/*.pl

EXTRA_CLEAN = $(OBJS:.o=.d) $(wildcard test/modules/*/*.[od] test/modules/*/*.so) $(wildcard src/*/*_gram.[ch] src/*/*_scan.c) tmp_check_regress tmp_check_iso $(BOX_TEST:.so=.[ods]*)

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# OR REPLACE suits upgrade scripts; in an install script it would adopt an
# object somebody planted there first (CVE-2022-2625).
$(EXTENSION)--$(EXTVERSION).sql: $(SQL_PARTS) $(EXTENSION).control
	sed 's/^CREATE OR REPLACE /CREATE /' $(SQL_PARTS) > $@

# the language
src/script/script_gram.c: BISONFLAGS += -d
src/script/script_gram.h: src/script/script_gram.c
	touch $@
$(patsubst %.c,%.o,$(wildcard src/script/*.c)) $(patsubst %.c,%.bc,$(wildcard src/script/*.c)) src/script/script_scan.o src/script/script_scan.bc: | src/script/script_gram.h

# the box is tested through a library of its own, so that ours needs no door
BOX_TEST = test/modules/box_test/box_test.so
$(BOX_TEST): $(BOX_TEST:.so=.o) src/box.o src/clock.o
	$(CC) $(CFLAGS) $(LDFLAGS) -shared -o $@ $^
installcheck: $(BOX_TEST)

# the relay is no server module: its own make, with pkg-config
all: relay
install: install-relay
clean: clean-relay
relay:
	$(MAKE) -C src/relay
install-relay: relay
	$(MAKE) -C src/relay install bindir='$(bindir)' DESTDIR='$(DESTDIR)'
clean-relay:
	$(MAKE) -C src/relay clean

symbols: $(MODULE_big).so
	test/house/symbols.sh $<

.PHONY: relay install-relay clean-relay symbols

# PGXS tracks headers only if the server was configured to; do it ourselves
override CFLAGS += -MMD -MP
-include $(OBJS:.o=.d)

endif
