# How scripts/backup and scripts/restore talk to the servers, who source this file: no password is ever part of a command
# line, which everybody on the machine can read. They define `on_postgres`, which runs a command where PostgreSQL's are.

# URL without its password, and with what stands in its place: with_password URL [***]
with_password() {
  if [[ $1 =~ ^([a-z]+://)([^:/?#]*):([^/?#]*)@(.*)$ ]]; then
    echo "${BASH_REMATCH[1]}${BASH_REMATCH[2]}${2:+:$2}@${BASH_REMATCH[4]}"
  else
    echo "$1"
  fi
}

# What is between the colon and the @, with its %40 and the like resolved.
password_of() {
  [[ $1 =~ ^[a-z]+://[^:/?#]*:([^/?#]*)@ ]] || return 0
  local encoded=${BASH_REMATCH[1]//\\/\\\\}
  printf '%b' "${encoded//%/\\x}"
}

# One of PostgreSQL's programs on the database of a URL: at URL PROGRAM [ARGUMENT…]. The password is the first line of its
# standard input, on the way into a container as well.
at() {
  local url=$1
  shift
  { password_of "$url"; echo; cat; } |
    on_postgres sh -c 'IFS= read -r password; [ -z "$password" ] || export PGPASSWORD="$password"; exec "$@"' sh \
      "$@" --dbname="$(with_password "$url")"
}

# Redis' program on the server of a URL: redis_at URL [ARGUMENT…]
redis_at() {
  local url=$1 bare user options=()
  shift
  bare=$(with_password "$url")
  if [[ $bare =~ ^([a-z]+://)([^/?#]*)@(.*)$ ]]; then
    # A user without a password would be taken for a password.
    bare=${BASH_REMATCH[1]}${BASH_REMATCH[3]} user=${BASH_REMATCH[2]}
    [[ -z $user ]] || options=(--user "$user")
  fi
  if [[ $bare == "$url" ]]; then redis-cli -u "$url" "$@"; return; fi
  REDISCLI_AUTH=$(password_of "$url") redis-cli -u "$bare" "${options[@]}" "$@"
}
