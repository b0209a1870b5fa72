# shellcheck shell=bash
#
# Runs named steps one after another, goes on after a failure, and tells at the end how each one went and how
# long it took. Sourced by scripts/test and .ci/run.

steps_names=()
steps_results=()
steps_seconds=()

# step NAME COMMAND...: the command is a program, never a shell function: `set -e` is off inside a function whose
# result is tested, and a failure in its middle would go unseen.
step() {
    local name=$1 start=$SECONDS status=0
    shift
    printf '\n==== %s\n' "$name"
    "$@" </dev/null || status=$?
    steps_names+=("$name")
    steps_seconds+=($((SECONDS - start)))
    if [[ $status -eq 0 ]]; then
        steps_results+=(ok)
    else
        steps_results+=("FAILED ($status)")
    fi
    return "$status"
}

# A step that was not reached, because what it needs failed. It counts as a failure.
step_not_run() {
    steps_names+=("$1")
    steps_seconds+=(0)
    steps_results+=("NOT RUN")
}

# steps_take FILE NAME...: steps that ran elsewhere, of which FILE has lines: a name, its exit status, its seconds. A step
# without a line was not reached.
steps_take() {
    local file=$1 name status seconds
    shift
    for name in "$@"; do
        if read -r status seconds < <(sed -n "s/^$name //p" "$file" 2>/dev/null); then
            steps_names+=("$name")
            steps_seconds+=("$seconds")
            steps_results+=("$([[ $status == 0 ]] && echo ok || echo "FAILED ($status)")")
        else
            step_not_run "$name"
        fi
    done
}

# The names of those that are not ok.
steps_failed() {
    local i
    for i in "${!steps_names[@]}"; do
        [[ ${steps_results[i]} == ok ]] || echo "${steps_names[i]}"
    done
}

# Prints the table and returns 0 only if every step is ok.
steps_summary() {
    local i failed=0
    printf '\n==== summary\n'
    for i in "${!steps_names[@]}"; do
        printf '%-16s %-14s %5d s\n' "${steps_names[i]}" "${steps_results[i]}" "${steps_seconds[i]}"
        [[ ${steps_results[i]} == ok ]] || failed=$((failed + 1))
    done
    if [[ $failed -gt 0 ]]; then
        printf '%s: %d of %d failed\n' "$1" "$failed" "${#steps_names[@]}"
        return 1
    fi
    printf '%s: all %d passed\n' "$1" "${#steps_names[@]}"
}
