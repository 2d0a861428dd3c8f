#!/usr/bin/env bash
# An MLflow server for a cluster, on a machine of its own or on Ray's head: records in PostgreSQL, artifacts in a folder
# (or an object store) of the server's, which clients reach through the server alone.
#
#   MEDALIGN_DB=postgresql://mlflow@127.0.0.1:5432/mlflow  PGPASSWORD=...  \
#   MLFLOW_AUTH_ADMIN_PASSWORD=...  MLFLOW_FLASK_SERVER_SECRET_KEY=...  deploy/mlflow_server.sh
#
# Passwords come from the environment, never from the command line, where every user of the machine would read them.
# Needs: pip install '.[server]'. All variables:
#   MEDALIGN_DB          database of the records; needed
#   MEDALIGN_AUTH_DB     database of the users (default: users.db, an SQLite file in the folder)
#   MEDALIGN_ARTIFACTS   folder or s3://BUCKET/PREFIX (default: artifacts in the folder)
#   MEDALIGN_FOLDER      the server's own folder (default: ~/medalign-mlflow)
#   MEDALIGN_HOST, MEDALIGN_PORT   where it listens (default: 127.0.0.1, 5000)
#   MEDALIGN_ALLOWED_HOSTS   names by which clients may call it, as `mlflow server --allowed-hosts` (default: MLflow's,
#                        which are this machine and private addresses)
#   MEDALIGN_WORKERS     processes that answer (default: 2)
set -euo pipefail

say() { echo "mlflow_server.sh: $*" >&2; exit 2; }

[ -n "${MEDALIGN_DB:-}" ] || say "MEDALIGN_DB: not set; give postgresql://USER@HOST:PORT/DATABASE"
case "$MEDALIGN_DB" in
    *://*:*@*) say "MEDALIGN_DB: holds a password; leave it out and give it as PGPASSWORD" ;;
esac
[ -n "${MLFLOW_AUTH_ADMIN_PASSWORD:-}" ] || say "MLFLOW_AUTH_ADMIN_PASSWORD: not set; choose one of 12 or more characters"
[ -n "${MLFLOW_FLASK_SERVER_SECRET_KEY:-}" ] || say "MLFLOW_FLASK_SERVER_SECRET_KEY: not set; make one with: openssl rand -hex 32"

python=${MEDALIGN_PYTHON:-python}
folder=${MEDALIGN_FOLDER:-$HOME/medalign-mlflow}
mkdir -p "$folder"
cd "$folder"
umask 077
cat > auth.ini <<END
[mlflow]
default_permission = MANAGE
database_uri = ${MEDALIGN_AUTH_DB:-sqlite:///$folder/users.db}
admin_username = ${MLFLOW_AUTH_ADMIN_USERNAME:-admin}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
grant_default_workspace_access = true
auth_cache_ttl_seconds = 60
END
export MLFLOW_AUTH_CONFIG_PATH=$folder/auth.ini
export MLFLOW_DISABLE_TELEMETRY=true
# Seven more processes, for evaluations that the server itself runs; medalign asks for none.
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=${MLFLOW_SERVER_ENABLE_JOB_EXECUTION:-false}

hosts=()
[ -z "${MEDALIGN_ALLOWED_HOSTS:-}" ] || hosts=(--allowed-hosts "$MEDALIGN_ALLOWED_HOSTS")
exec "$python" -m mlflow server \
    --app-name basic-auth \
    --backend-store-uri "$MEDALIGN_DB" \
    --artifacts-destination "${MEDALIGN_ARTIFACTS:-$folder/artifacts}" \
    --host "${MEDALIGN_HOST:-127.0.0.1}" --port "${MEDALIGN_PORT:-5000}" \
    --workers "${MEDALIGN_WORKERS:-2}" "${hosts[@]}"
