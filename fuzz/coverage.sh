#!/bin/sh
# Line coverage of src/wire by replaying the corpus, file by file. Fails under 95 % in all.
# Fetches llvm-tools for the default toolchain.
set -eu
cd "$(dirname "$0")/.."
floor=95

tools=$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin
[ -x "$tools/llvm-cov" ] || rustup component add llvm-tools
work=$PWD/target/coverage
rm -rf "$work"
mkdir -p "$work"
printf '#!/bin/sh\nexec "$@" -C instrument-coverage\n' >"$work/rustc"
chmod +x "$work/rustc"

built=$(RUSTC_WORKSPACE_WRAPPER=$work/rustc LLVM_PROFILE_FILE=$work/build-%p.profraw \
    cargo test --features fuzzing --test fuzz_corpus --no-run 2>&1) || { echo "$built" >&2; exit 1; }
binary=$(echo "$built" | sed -n 's/.*Executable.*(\(.*\)).*/\1/p')
LLVM_PROFILE_FILE=$work/corpus-%p.profraw "$binary" --quiet

"$tools/llvm-profdata" merge -sparse "$work"/corpus-*.profraw -o "$work/corpus.profdata"
"$tools/llvm-cov" export -format=lcov -instr-profile "$work/corpus.profdata" "$binary" |
    awk -v floor="$floor" '
        /^SF:/ { file = substr($0, 4); ours = sub(/^.*\/src\/wire\//, "src/wire/", file) }
        /^DA:/ && ours {
            split(substr($0, 4), line, ",")
            if (line[2] == 0) missed[file] = missed[file] " " line[1]
        }
        /^LF:/ && ours { found[file] = substr($0, 4); all += found[file] }
        /^LH:/ && ours { hit[file] = substr($0, 4); seen += hit[file] }
        END {
            if (!all) { print "no line of src/wire was measured"; exit 1 }
            for (file in found)
                printf "%-34s %4d of %4d lines %6.1f %%%s\n", file, hit[file], found[file],
                    100 * hit[file] / found[file],
                    missed[file] ? "  missed:" missed[file] : "" | "sort"
            close("sort")
            printf "%-34s %4d of %4d lines %6.1f %%, %d %% are demanded\n", "src/wire", seen, all,
                100 * seen / all, floor
            exit 100 * seen < floor * all
        }'
