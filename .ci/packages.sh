# System packages, for `./demo` and `./test`. Sourced, not run.

# Every name is known to Debian 12 and to Ubuntu 24.04. No crate needs clang or cmake. What every
# installation of either has (bash, coreutils, grep, util-linux) is not named; git and Rust are yours.

# To build and to run. glib-networking is TLS for cameras, libssl-dev TLS for Kafka.
RUN_PACKAGES=(
  ca-certificates pkg-config build-essential libssl-dev
  libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev gstreamer1.0-tools
  gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-libav
  glib-networking fonts-noto-color-emoji
)
# Only tests and benchmarks use these. procps brings `kill`; VLC is the second RTSP server,
# Python the second Kafka client.
TEST_PACKAGES=(
  gstreamer1.0-plugins-ugly libgstrtspserver-1.0-dev vlc-bin vlc-plugin-base ffmpeg procps python3-venv
)

# install_packages NAME...: installs what is missing, or says how to.
install_packages() {
  if ! command -v dpkg-query >/dev/null; then
    echo "This is no Debian or Ubuntu: make sure that the equivalents of these are installed:" >&2
    echo "  $*" >&2
    return 0
  fi
  local missing=() name
  for name in "$@"; do
    dpkg-query -W -f='${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name")
  done
  if [ ${#missing[@]} -eq 0 ]; then return 0; fi
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
      as_root=(sudo)
    else
      echo "These system packages are missing. Install them with this one command, then run again:" >&2
      echo "  sudo sh -c 'apt-get update && apt-get install -y --no-install-recommends ${missing[*]}'" >&2
      exit 1
    fi
  fi
  echo "installing: ${missing[*]}"
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}
