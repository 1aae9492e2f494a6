//! The good sites, line by line.

/// A site that works.
#[derive(Debug)]
pub(crate) struct Base {
    pub(crate) scheme: &'static str,
    pub(crate) host: &'static str,
    /// The path of Socket.IO on it.
    pub(crate) path: &'static str,
    /// The proxies, the outermost first.
    pub(crate) texts: &'static [&'static str],
    /// The kind of server behind them.
    pub(crate) upstream: &'static str,
    /// The path of Socket.IO there.
    pub(crate) upstream_path: &'static str,
}

/// What all of them begin with; `@…@` is filled in.
macro_rules! with_head {
    ($($rest:expr),+) => {
        concat!(
            "pid @ROOT@/run/nginx.pid;\n",
            "error_log @ROOT@/log/error.log;\n",
            "worker_processes 1;\n",
            "events {\n",
            "    worker_connections 4096;\n",
            "}\n",
            "http {\n",
            "    access_log off;\n",
            "    types { text/html html; }\n",
            "@TEMPORARY@",
            "    map $http_upgrade $connection_upgrade {\n",
            "        default upgrade;\n",
            "        '' close;\n",
            "    }\n",
            "    upstream openhands {\n",
            "        server 127.0.0.1:@UPSTREAM@;\n",
            "    }\n",
            "    server {\n",
            "        absolute_redirect off;\n",
            "        client_max_body_size 16m;\n",
            "        proxy_read_timeout 1h;\n",
            $($rest,)+
            "    }\n",
            "}\n",
        )
    };
}

/// What a server passes on.
macro_rules! passed_on {
    () => {
        concat!(
            "        proxy_http_version 1.1;\n",
            "        proxy_set_header Host $http_host;\n",
            "        proxy_set_header X-Forwarded-Proto $scheme;\n",
            "        proxy_set_header Upgrade $http_upgrade;\n",
            "        proxy_set_header Connection $connection_upgrade;\n",
        )
    };
}

/// The pages are files; Socket.IO has a location.
macro_rules! files {
    () => {
        concat!(
            "        root @ROOT@/www;\n",
            "        location / {\n",
            "            try_files $uri /index.html;\n",
            "        }\n",
            "        location /socket.io/ {\n",
            "            proxy_pass http://openhands;\n",
            "        }\n",
        )
    };
}

const PLAIN: &str = with_head!(
    "        listen 127.0.0.1:@PORT@;\n",
    "        server_name oh.example;\n",
    passed_on!(),
    files!()
);

/// The headers in the location, and OpenHands behind everything else too.
const IN_THE_LOCATION: &str = with_head!(
    "        listen 127.0.0.1:@PORT@;\n",
    "        server_name oh.example;\n",
    "        proxy_http_version 1.1;\n",
    "        location / {\n",
    "            proxy_pass http://openhands;\n",
    "        }\n",
    "        location /socket.io/ {\n",
    "            proxy_pass http://openhands;\n",
    "            proxy_set_header Host $http_host;\n",
    "            proxy_set_header Upgrade $http_upgrade;\n",
    "            proxy_set_header Connection $connection_upgrade;\n",
    "        }\n"
);

const TLS: &str = with_head!(
    "        listen 127.0.0.1:@PORT@ ssl http2;\n",
    "        server_name oh.example;\n",
    "        ssl_certificate @TLS@/good.chain;\n",
    "        ssl_certificate_key @TLS@/good.key;\n",
    "        ssl_protocols TLSv1.2 TLSv1.3;\n",
    passed_on!(),
    files!()
);

const SUB_PATH: &str = with_head!(
    "        listen 127.0.0.1:@PORT@;\n",
    "        server_name oh.example;\n",
    passed_on!(),
    "        location /oh/ {\n",
    "            proxy_pass http://openhands/;\n",
    "        }\n"
);

const BASE_PATH: &str = with_head!(
    "        listen 127.0.0.1:@PORT@;\n",
    "        server_name oh.example;\n",
    passed_on!(),
    "        location /oh/socket.io/ {\n",
    "            proxy_pass http://openhands;\n",
    "        }\n"
);

const IPV6: &str = with_head!("        listen [::1]:@PORT@;\n", passed_on!(), files!());

/// Behind another proxy, which has said how the site is reached.
const INNER: &str = with_head!(
    "        listen 127.0.0.1:@PORT@;\n",
    "        proxy_http_version 1.1;\n",
    "        proxy_set_header Host $http_host;\n",
    "        proxy_set_header X-Forwarded-Proto $http_x_forwarded_proto;\n",
    "        proxy_set_header Upgrade $http_upgrade;\n",
    "        proxy_set_header Connection $connection_upgrade;\n",
    files!()
);

/// Plain HTTP, the pages as files.
pub(crate) const PLAIN_SITE: Base = Base {
    scheme: "http",
    host: "oh.example",
    path: "/socket.io/",
    texts: &[PLAIN],
    upstream: "any",
    upstream_path: "/socket.io/",
};

/// The same, and a server that takes the site's own pages only.
pub(crate) const OWN_SITE: Base = Base { upstream: "own", ..PLAIN_SITE };

/// socket.io on Node.
pub(crate) const NODE_SITE: Base =
    Base { texts: &[IN_THE_LOCATION], upstream: "node", ..PLAIN_SITE };

/// TLS with HTTP/2, and a server that takes the site's own pages only.
pub(crate) const TLS_SITE: Base =
    Base { scheme: "https", texts: &[TLS], upstream: "own", ..PLAIN_SITE };

/// Below a path that the proxy takes away.
pub(crate) const SUB_PATH_SITE: Base =
    Base { path: "/oh/socket.io/", texts: &[SUB_PATH], ..PLAIN_SITE };

/// Below a path that the server knows.
pub(crate) const BASE_PATH_SITE: Base = Base {
    path: "/oh/socket.io/",
    texts: &[BASE_PATH],
    upstream: "based",
    upstream_path: "/oh/socket.io/",
    ..PLAIN_SITE
};

/// On an address of IPv6, without a name.
pub(crate) const IPV6_SITE: Base = Base { host: "[::1]", texts: &[IPV6], ..OWN_SITE };

/// Two proxies in a row, the outer with TLS.
pub(crate) const TWO_PROXIES: Base = Base { texts: &[TLS, INNER], ..TLS_SITE };
