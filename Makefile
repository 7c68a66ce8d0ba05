# Two commands. Each brings what it needs first (scripts/setup.sh), which costs nothing when it is there.
.PHONY: demo test

# npm scripts run by the Node of the lock file; so do these.
export PATH := $(CURDIR)/node_modules/.bin:$(PATH):/usr/sbin:/sbin

demo:
	@scripts/setup.sh
	@node src/cli/main.ts lab

test:
	@scripts/setup.sh test
	@node scripts/test.ts
