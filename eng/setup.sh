# Sourced by the scripts at the root: makes a fresh Debian machine with only the .NET 10 SDK ready.
# need PACKAGE COMMAND_OR_FILE: installs a Debian package when root, otherwise names it and goes on (tests that need it say so).
set -euo pipefail

export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1 DOTNET_SKIP_FIRST_TIME_EXPERIENCE=1 MSBUILDDISABLENODEREUSE=1

apt_updated=0
missing=()

need() {
    local package=$1 probe=$2
    if command -v "$probe" >/dev/null 2>&1 || compgen -G "$probe" >/dev/null 2>&1; then
        return 0
    fi
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        if [ $apt_updated = 0 ]; then
            apt-get update -qq >/dev/null 2>&1 || true
            apt_updated=1
        fi
        if DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null 2>&1; then
            return 0
        fi
    fi
    missing+=("$package")
}

report_missing() {
    if [ ${#missing[@]} -gt 0 ]; then
        echo "not installed, and not installable here: ${missing[*]}" >&2
        echo "as root: apt-get install ${missing[*]}" >&2
    fi
}

if ! command -v dotnet >/dev/null 2>&1; then
    echo "the .NET 10 SDK is needed: 'dotnet' is not on the PATH" >&2
    exit 2
fi
