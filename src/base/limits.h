/*
 * Every bound of the project, each with its reason. A queue, buffer or table without a line here
 * is a defect. Bounds that an operator may want to change are options of the configuration; what
 * stands here is their ceiling, or what no operator needs to touch.
 */
#ifndef FK_BASE_LIMITS_H
#define FK_BASE_LIMITS_H

/* --- base --- */

/* First allocation of a byte queue: one small message; doubling from there. */
#define FK_BUF_MIN 512
/* An emptied queue larger than this gives its memory back: an idle connection costs nothing. */
#define FK_BUF_KEEP 4096
/* Largest secret: an encrypted PKCS#8 RSA-4096 key in PEM is below 4 KiB; room for a bundle. */
#define FK_SECRET_MAX (1024 * 1024)
/* A chunk of an arena: some hundred connections' keys between two fences. */
#define FK_ARENA_CHUNK 65536
/* Largest slot: a chunk still holds a dozen. */
#define FK_ARENA_SLOT_MAX 4096
/* One log line: longer ones are cut, so that a peer cannot fill the disk with one request. */
#define FK_LOG_LINE_MAX 2048
/* Lines a second of one kind that a peer can provoke: enough to see, too few to fill a disk. */
#define FK_LOG_BURST 10
/* Label of a metric or process name: fits a status line. */
#define FK_NAME_MAX 64
/* A DNS name in text (RFC 1035 section 2.3.4). */
#define FK_HOST_MAX 253
/* One label of it (RFC 1035 section 2.3.4). */
#define FK_HOST_LABEL_MAX 63

/* --- wire --- */

/*
 * Prime of ServerDHParams, bytes: below 2048 bits is weak (RFC 9325 section 4.4); above 4096 no RSA
 * key served here asks for, and the request would not fit a signer's payload.
 */
#define FK_DH_PRIME_MIN 256
#define FK_DH_PRIME_MAX 512
/* All bytes of the records that carry a ClientHello: post-quantum key shares need 2 to 4 KiB. */
#define FK_CLIENT_HELLO_MAX 16384
/*
 * Records it may be cut into: real clients use 1 to 3. All are walked again at every new byte, so
 * this bounds what a client that sends single bytes costs: about 5 us a byte with this number.
 */
#define FK_CLIENT_HELLO_RECORDS 512
/* Extensions of a ClientHello: browsers send about 20; duplicates are sought in pairs. */
#define FK_CLIENT_HELLO_EXTENSIONS 64
/* A PROXY v1 line with CRLF (the protocol's own figure, section 2.1). */
#define FK_PROXY_V1_MAX 107
/* A PROXY v2 header as received: addresses, names and TLS facts; no certificate comes this way. */
#define FK_PROXY_V2_MAX 4096
/* PP2_TYPE_UNIQUE_ID (the protocol's own figure, section 2.2.5). */
#define FK_PROXY_UNIQUE_ID_MAX 128

/* Ticket keys in one answer: those alive at once are five (FK_TICKET_ROOTS_MAX). */
#define FK_TICKET_GRANTS_MAX 8
/* Keys of single tickets in one answer: eight handshakes of two tickets. */
#define FK_TICKET_SINGLES_MAX 16
/* Extension headers of one IPv6 packet: real ones have two or three. */
#define FK_IP_EXTENSIONS_MAX 8

/* --- tls --- */

/* Bytes of the names of CAs that a site tells its clients of (RFC 8446 section 4.2.4): a hundred.
 * With the largest ClientHello they fit a call (FK_KEY_CALL_MAX). */
#define FK_CLIENT_CAS_MAX 8192
/* Bytes of the certificates that a client may show: ten with RSA keys, three with ML-DSA. With all
 * else of a flight they fit what an edge keeps of one (FK_EDGE_HELLO_BUFFER). */
#define FK_CLIENT_CHAIN_MAX 20480

/* One OCSP response: with a responder's certificate real ones have 2 KiB, with a chain 6. */
#define FK_STAPLE_MAX 16384

/* Records in a row that carry nothing for the owner (as OpenSSL: empty ones, KeyUpdates, warnings).
 */
#define FK_RECORD_IDLE_MAX 32
/*
 * Handshake messages that a peer may send after the handshake (KeyUpdate, in TLS 1.2 requests to
 * renegotiate), and the bytes of data that pay for one more: to relay those costs about as much as
 * the message, some 15 us. Peers update their keys after gigabytes (RFC 8446 section 5.5), or by
 * hand; one each hour for a day without data is fine, too.
 */
#define FK_TLS_MESSAGES_MAX  32
#define FK_TLS_MESSAGE_BYTES 16384
/* Records that OpenSSL opens for one session before others have their turn: with full ones more
 * than any buffer here takes; tiny ones cost a microsecond each. */
#define FK_TLS_READS_MAX 64

/* Bytes that TLS reads at once from a channel: a burst of some hundred answers in one read(2). */
#define FK_CHANNEL_READ_AHEAD 65536
/* One SSL_read at least: most answers fit, and the queue keeps such a size when it runs empty. */
#define FK_CHANNEL_READ_MIN 4096
/* Received bytes not yet taken by a channel's owner: two frames of the largest size. */
#define FK_CHANNEL_IN_MAX 131104
/* Queued bytes of a channel: all requests that may be outstanding (see keyclient) fit. */
#define FK_CHANNEL_OUT_MAX (8 * 1024 * 1024)
/* Intermediates between a channel certificate and the private CA: one is usual, if any. */
#define FK_CHANNEL_DEPTH_MAX 4

/* The certificate at the other end of an open channel is judged again after so long, besides at its
 * end and when CA or list change: bounds for how long one goes on whose list's own time is over (a
 * day, commonly), at some 100 us a channel. */
#define FK_CHANNEL_JUDGE_US 60000000

/* --- keyclient --- */

/* Addresses of one key server's name that are tried in turn. */
#define FK_KEYSERVER_ADDRS_MAX 8
/* A client that gave way to another closes a channel when nobody used it for so long: what a paused
 * handshake of the old configuration may still ask comes before. */
#define FK_KEYCLIENT_BEHIND_US 1000000
/* Requests under way on one channel, ceiling of `max_outstanding`: 10 s of a fast signer. */
#define FK_KEYSERVER_OUTSTANDING_MAX 65536
/* Pause before the next try to reach a key server: doubled each time, half of it random. */
#define FK_KEYSERVER_BACKOFF_MIN_US 50000
#define FK_KEYSERVER_BACKOFF_MAX_US 5000000
/* Connections of key servers that dial in, or of strangers, whose handshake one worker does at a
 * time: the next one takes the place of an old one. A key server's handshake lasts one round trip.
 * One costs some 50 KiB. */
#define FK_DIALLED_CANDIDATES_MAX 256
/* Those of one address: the fronts of one key server, and others behind the same translator. */
#define FK_DIALLED_ADDRESS_MAX 32
/* Until it has answered our ClientHello, a round trip and one lost packet: strangers do not. */
#define FK_DIALLED_HELLO_US 1000000
/* Connections taken before others get their turn. */
#define FK_DIALLED_ACCEPT_BATCH 16
/* Connections that wait in the kernel until a worker wants one: the fronts of one key server have
 * one each there, and what others sent on theirs is memory. */
#define FK_DIALLED_BACKLOG 256
/* How often a worker that wants none looks whether that queue fills: a key server that finds it
 * full tries again after so long at least. */
#define FK_DIALLED_LOOK_US 500000
/* A channel that lasts so long is no sign of a server that comes and goes. */
#define FK_KEYSERVER_STABLE_US 10000000
/* Least time that a server gets before another is asked as well: above a slow disk or a swap. */
#define FK_KEYSERVER_PATIENCE_MIN_US 100000
/* Key servers that answer faster than this on average are equals: what lies between them is turns
 * of our own loop and of theirs. */
#define FK_KEYSERVER_ALIKE_US 2048
/* Key servers of one pool: a request remembers in 64 bits which it has tried. */
#define FK_KEYPOOL_SERVERS_MAX 64
/* Requests of a pool that wait for any server to come back: each holds a paused handshake. */
#define FK_KEYPOOL_PARKED_MAX 4096
/* A second server is asked when the first is later than this part of the other's answers are: so
 * among equals one request in twenty is asked for twice. */
#define FK_KEY_HEDGE_PERCENT 95
/* But not before: the loop's own turns take so long under load. */
#define FK_KEY_HEDGE_MIN_US 1000
/* Servers given one request: it must not bring down one channel after the other. */
#define FK_KEY_ATTEMPTS_MAX 4
/* Payload of one request: ServerDHParams of 4096 bits and two randoms are below 1.7 KiB. */
#define FK_KEY_PAYLOAD_MAX 4096
/* Body of a signed request: what a signer takes, less what the front adds. */
#define FK_KEYPROOF_BODY_MAX 3968
/* A secret result, opened: a premaster; keys and handshakes to come have their own bounds. */
#define FK_KEY_SECRET_MAX 4096
/* The same of a call: a ClientHello of 16 KiB, or a client's flight with its certificate chain. */
#define FK_KEY_CALL_MAX 32768
/* Messages of a TLS 1.3 handshake up to its Certificate that a signer takes, with all else of a
 * frame that an edge has signed in FK_SIGNER_PAYLOAD_MAX: a hello with a post-quantum share, and a
 * chain of three RSA-2048 certificates or two of RSA-4096. */
#define FK_TRANSCRIPT13_MAX 7168
/* Certificates in it, as they stand in the Certificate message: the rest is room for hellos, a
 * HelloRetryRequest between them, and what is asked of the client. */
#define FK_TRANSCRIPT13_CHAIN_MAX 4608
/* Answer to what one handshake asks: ServerDHParams of 4096 bits, an RSA-4096 signature and, at
 * most, a private value of 4096 bits. */
#define FK_RKEY_ANSWER_MAX 2304
/* Signatures checked at the start of each channel, one in how many later, after a bad one. */
#define FK_VERIFY_FIRST   16
#define FK_VERIFY_ONE_IN  64
#define FK_VERIFY_SUSPECT 256
/* Any client can complain: how often at most, in a pool, that makes all signatures be checked. */
#define FK_VERIFY_COMPLAINT_US (60 * (uint64_t)1000000)
/* Keys of one key server's listing, and their bytes with certificates: a large hoster's. */
#define FK_KEYLIST_KEYS_MAX  100000
#define FK_KEYLIST_BYTES_MAX (256 * 1024 * 1024)

/* --- admin --- */

/* An answer of a master: the status of thousands of sites fits; bounds what admin allocates. */
#define FK_ADMIN_ANSWER_MAX (4 * 1024 * 1024)
/* Lines about what no process counts, some hundred bytes a site: an answer with all metrics fits.
 */
#define FK_ADMIN_FACTS_MAX (3 * 1024 * 1024)
/* Tables of metrics of one daemon: its own, its signers', its audit's, its tokens'. */
#define FK_ADMIN_TABLES_MAX 4
/* Head of one HTTP request: scrapers send a few hundred bytes; browsers with cookies 4 KiB. */
#define FK_ADMIN_REQUEST_MAX 8192
#define FK_ADMIN_URL_MAX     255
/* A line of the control socket: a command is one word. */
#define FK_ADMIN_LINE_MAX 1024
/* Connections at once: a few scrapers and health checks; operators' commands. */
#define FK_ADMIN_HTTP_CONNS    64
#define FK_ADMIN_CONTROL_CONNS 16
/* Microseconds: for a request to come or an answer to go; for the master to say its status, and to
 * do a command (a reload reads thousands of keys and waits for processes); after which a failed
 * accept is tried again. */
#define FK_ADMIN_PATIENCE_US 30000000
/* For a connection's first byte: who connects here has something to ask. */
#define FK_ADMIN_FIRST_US   5000000
#define FK_ADMIN_STATUS_US  5000000
#define FK_ADMIN_COMMAND_US 60000000
/* Characters of the token: fewer could be guessed; more fit no header that anybody sends. */
#define FK_ADMIN_TOKEN_MIN 16
#define FK_ADMIN_TOKEN_MAX 256
#define FK_SERVE_RETRY_US  100000

/* --- http --- */

/* First allocations for the fields of a message: a small client's; browsers with cookies take two
 * or three doublings. */
#define FK_HTTP_TEXT_MIN   512
#define FK_HTTP_FIELDS_MIN 16
/* A request line: RFC 9112 section 3 recommends 8,000 bytes at least. */
#define FK_HTTP_LINE_MAX 8192
/* A head: cookies of one host are 10 KiB at the most in browsers' practice, tokens as much again;
 * origins take 8 KiB to 64 KiB. */
#define FK_HTTP_HEAD_MAX 32768
/* Fields of a head: browsers send 20 to 30; look-ups are linear. */
#define FK_HTTP_FIELDS_MAX 128
/* Trailers: checksums and gRPC's status. */
#define FK_HTTP_TRAILERS_MAX       8192
#define FK_HTTP_TRAILER_FIELDS_MAX 32
/* A chunk's line, and the bytes of all extensions of a body: nothing known sends any, and each
 * would be parsed and thrown away. */
#define FK_HTTP_CHUNK_LINE_MAX       256
#define FK_HTTP_CHUNK_EXTENSIONS_MAX 4096
/* Interim responses before the final one: 100, 103 and some 102 of a slow origin. */
#define FK_HTTP_INTERIM_MAX 16
/* HTTP/2. Requests of one client at once: what RFC 9113 section 5.1.2 recommends at least. */
#define FK_H2_STREAMS_MAX 100
/* Bytes taken at once: one frame of the usual size; bounds the events of one input. */
#define FK_H2_RECV_MAX 16384
/* Body bytes that a client may send beyond what was passed on: of a stream, and of all. */
#define FK_H2_STREAM_WINDOW     65535
#define FK_H2_CONNECTION_WINDOW 262144
/* Payload of the largest frame that is sent (RFC 9113 section 4.2: what each client takes), and how
 * much of its buffer an idle connection keeps: a page. */
#define FK_H2_FRAME      16384
#define FK_H2_FRAME_KEPT 4096
/* Body bytes of an answer that wait for the client in one stream. */
#define FK_H2_OUT_MAX 65536
/* Of all streams of a client together, beyond which one gets only a frame at a time: what a fast
 * client takes in a few milliseconds. */
#define FK_H2_WAITING_MAX 524288
/* Frames without use (PING, SETTINGS, PRIORITY, resets, empty DATA, unknown ones, refused fields)
 * that are forgiven, and how many more for each request that ran through. Browsers send a dozen at
 * the start, and one or two for a request that a user leaves. */
#define FK_H2_CREDIT_MAX     200
#define FK_H2_CREDIT_REQUEST 4
/* Resets by a client: at once, and a second (nghttp2's own count, CVE-2023-44487). */
#define FK_H2_RESETS_BURST 200
#define FK_H2_RESETS_RATE  20
/* CONTINUATION frames of one head: 32 KiB come in two (CVE-2024-28182). */
#define FK_H2_CONTINUATIONS 8
/* Settings in one frame; there are nine. Answers to SETTINGS and PING that wait to be sent. */
#define FK_H2_SETTINGS_MAX 32
#define FK_H2_ACKS_MAX     100
/* What a proxy adds to a message besides what it relays: Via, Forwarded, X-Forwarded-*, with the
 * longest host twice; a list that was there is copied when it grows. */
#define FK_HTTP_FORWARD_BYTES 4096
/* Name of a cookie that carries a certificate: a word. */
#define FK_HTTP_COOKIE_NAME_MAX 64
/* All texts of one client's certificate that its requests carry: ceiling of the option. Origins
 * take heads of 64 KiB at the most, few more than 16. Fields of all formats together. */
#define FK_CERTRELAY_BYTES_MAX  65536
#define FK_CERTRELAY_FIELDS_MAX 64
/* Percent-decoding of a path, over and over, before it counts as hostile: origins that decode twice
 * are known. */
#define FK_HTTP_PATH_DECODE_MAX 3
#define FK_HTTP_FORWARD_FIELDS  10
/* Seconds that an answer is taken for fresh though nobody has said how long it is, at the most. */
#define FK_CACHE_HEURISTIC_MAX 3600
/* Blocks of a stored body whose length is not known before: small ones waste little, large ones are
 * few to walk. */
#define FK_CACHE_BLOCK_MIN 4096
#define FK_CACHE_BLOCK_MAX 65536
/* Lists in the index of what is stored: of 100,000 answers, some 6 are in each. */
#define FK_CACHE_BUCKETS 16384
/* Variants of one target: languages, codings and formats, multiplied; look-ups are linear. */
#define FK_CACHE_VARIANTS_MAX 32
/* Targets that are known not to be for storing, 16 bytes each, and for how many seconds that is
 * believed; and seconds that others wait for an answer that may be for all. */
#define FK_CACHE_MARKS        4096
#define FK_CACHE_MARK_SECONDS 60
#define FK_CACHE_WAIT_SECONDS 5
/* Requests for the cache alone: at once, as many as an origin takes beside its clients'; bytes read
 * at once; microseconds for one, what a slow page takes. */
#define FK_CACHE_RENEWALS_MAX 32
#define FK_CACHE_RENEWAL_READ 16384
#define FK_CACHE_RENEWAL_US   30000000
/* Microseconds between looks at who has waited long enough. */
#define FK_EDGE_CACHE_TICK_US 1000000

/* --- edge --- */

/* Worker processes: one a core; more than any machine of this job has. */
#define FK_EDGE_WORKERS_MAX 64
/* Certificates of one site: one for each type of key (RSA, ECDSA, Ed25519). */
#define FK_EDGE_CERTS_MAX 3
/* Certificates in one chain: real ones have two to four. */
#define FK_EDGE_CHAIN_MAX 10
/* A PROXY header without the client's certificate: two server names' worth. */
#define FK_EDGE_PROXY_BYTES 1024
/* Formats that one site relays certificates of clients in: each that there is, some of one's own.
 */
#define FK_EDGE_RELAYS_MAX 16
/* Names of one listed certificate that are looked at: what public CAs allow is 100. */
#define FK_EDGE_CERT_NAMES_MAX 1024
/* Work of one turn of the loop when key servers have listed other keys, and the part of it that
 * reading a chain or making a site's TLS context counts for; all else counts 1. Two such, some
 * 3 ms: clients do not notice. */
#define FK_EDGE_RENEW_TURN  64
#define FK_EDGE_RENEW_HEAVY 32
/* Ceiling of edge.conf's connections: descriptors of one process. */
#define FK_EDGE_CONNECTIONS_MAX 10000000
/* Key servers of one site: tried in turn within one deadline, so more would not be reached. */
#define FK_EDGE_SERVERS_MAX 8
/* Origins of one site: a connection remembers in 64 bits which it has tried. */
#define FK_EDGE_ORIGINS_MAX 64
/* Origins that operators have set down at once, of all sites: each worker's start tells of them. */
#define FK_EDGE_SET_DOWN_MAX 256
/* How long an origin's resolved addresses are used before the (cached) resolver is asked again. */
#define FK_EDGE_RESOLVE_US 30000000
/* Connections to one origin that a worker keeps without a request: what comes in a burst beyond
 * that is made anew. */
#define FK_EDGE_KEPT_MAX 256
/* With mode handshake a site's groups go to the key server with each ClientHello. */
#define FK_EDGE_GROUPS_MAX 32
/* Bytes read before OpenSSL takes over: a PROXY header, and the largest ClientHello in records of
 * 16 bytes and more. Smaller records are an attack on patience. */
#define FK_EDGE_HELLO_BUFFER (4096 + 16384 + 5 * 1024)
/* A back-end of a private key ends each operation at its deadline; one that has not by so much
 * later never will, and the handshake is given up. Its own timer is due in the same loop. */
#define FK_EDGE_KEY_GRACE_US 500000
/* After an alert, or an answer whose origin reads no more, the client has this long to read it and
 * to close. */
#define FK_EDGE_LINGER_US 2000000
/* Descriptors of a worker besides two a connection: its listeners, channels, signers and resolver,
 * and those of a second generation. Only warned of when there are fewer. */
#define FK_EDGE_DESCRIPTORS 512
/* Clients accepted in one turn of the loop: others wait no longer than that takes. */
#define FK_EDGE_ACCEPT_BATCH 32
/* Clients still accepted from a socket that is about to be closed: a full backlog. */
#define FK_EDGE_ACCEPT_FLUSH 4096
/* Without descriptors, accepting is tried again after this. */
#define FK_EDGE_ACCEPT_RETRY_US 100000
/* A worker reports that it is ready at the latest after this, certificates or not. */
#define FK_EDGE_PATIENCE_US 3000000
/* A reload is given up when signers and workers have not built it in so long: thousands of sites
 * take some seconds. With the next bound less than what an operator waits for (control socket). */
#define FK_EDGE_PREPARE_US 30000000
/* And a worker that has it in service says so within FK_EDGE_PATIENCE_US, or is in trouble. */
#define FK_EDGE_SETTLE_US 10000000
/* A successor of a master loads as at a start, signers and workers too, and is killed if it does
 * not serve after so long, which is less than an operator waits for an answer. */
#define FK_EDGE_SUCCESSOR_US 50000000
/* A drain waits for the first request of a client that has just come: a round trip, and the same
 * again for a lost packet. One that has connected in case it will need it does not hold it up. */
#define FK_EDGE_ASK_US 5000000
/* Operators' requests that the predecessor has accepted are answered by it within this. */
#define FK_EDGE_ADMIN_DRAIN_S 2
/* What it is given comes from a process that does nothing else meanwhile. */
#define FK_EDGE_INHERIT_MS 5000
/* A signer on the same machine answers in milliseconds, or is gone. */
#define FK_EDGE_SIGNER_DEADLINE_US 3000000
#define FK_EDGE_SIGNER_OUTSTANDING 4096
/* Signers for keys of this host: they outrun the workers well before. */
#define FK_EDGE_SIGNERS_MAX 8
/* A retired signer has this long for what it was asked. */
#define FK_EDGE_SIGNER_DRAIN_S 10
/* Operators' questions that wait for the workers' answers at once. */
#define FK_EDGE_QUESTIONS_MAX 16
/* For so long: a worker that is busy answers later, the operator not at all. */
#define FK_EDGE_QUESTION_US 1000000
/* A worker's status as JSON: some 300 bytes for a site, for thousands of sites. */
#define FK_EDGE_STATUS_MAX (1024 * 1024)
/* Without randomness a new ticket key is tried for again after this. */
#define FK_EDGE_TICKET_RETRY_US 1000000
/* Reads of one connection before others have their turn: 4 x the scratch area of 64 KiB. */
#define FK_EDGE_PUMP_ROUNDS 4
/* The area through which a worker's bytes pass: 4 full TLS records. */
#define FK_EDGE_SCRATCH 65536
/* The same, sealed: five records at most, and what the engine has to say by itself. */
#define FK_EDGE_SEALED_MAX (FK_EDGE_SCRATCH + 512)
/* The longest record, with its header: TLS 1.2 with CBC, RFC 5246 section 6.2.3. */
#define FK_EDGE_RECORD_MAX (5 + 16384 + 2048)
/* A connection without traffic for so long gives its cipher contexts back: making them costs a
 * microsecond, keeping them a kilobyte each. */
#define FK_EDGE_REST_US 1000000
/* Sessions in the cache that workers share: 512 bytes each, 512 MiB. */
#define FK_EDGE_SESSIONS_MAX 1048576
/* Ticket keys that a site opens with at once. Its own edge's are five: one made every quarter of a
 * life, and one about to end; of those that edges share it is six from each of two key servers. */
#define FK_EDGE_TICKET_KEYS 12
/* Private keys whose ticket keys an edge shares: two secrets each, six mappings of the 65,530 that
 * a process may have. */
#define FK_EDGE_TICKET_GROUPS_MAX 4096
/* So often shared ticket keys are looked at: whether one begins to seal or ends, and whether a key
 * server is to be asked. */
#define FK_EDGE_TICKET_LOOK_US 1000000
/* A key server that gives none is asked again after this, if not for another reason before. */
#define FK_EDGE_TICKET_REFUSED_US 60000000
/* Questions about ticket keys under way at once: handshakes come first. */
#define FK_EDGE_TICKET_ASKED_MAX 64
/* Sites whose derived ticket keys share one secret: 11 locked pages. One a site would take three
 * mappings each, of the 65,530 that a process may have. At most 64: bits of a word. */
#define FK_EDGE_TICKET_SLAB 32
/* Keys of single tickets that a site has in stock, one answer's worth; below half, it asks. */
#define FK_EDGE_TICKET_STOCK_LOW (FK_TICKET_SINGLES_MAX / 2)
/* Longest wait for the keys of a client's ticket, all key servers together; then its handshake is a
 * full one. And until a key server that gave none is asked for new ones again. */
#define FK_EDGE_TICKET_OPEN_US        500000
#define FK_EDGE_TICKET_RETRY_STOCK_US 1000000
/* What a handshake may wait for besides its private key: a session of the store or the tickets that
 * the client offers, of which it can send hundreds. */
#define FK_HANDSHAKE_AWAITS_MAX 4
/* Commands of one worker that the store of sessions has not answered: a second of it at a thousand
 * full handshakes a second. Beyond, sessions are neither looked for nor kept there. */
#define FK_EDGE_STORE_CALLS_MAX 1024
/* Bytes of these that it has not read: a session and the command around it take 1.3 KiB. */
#define FK_EDGE_STORE_OUT_MAX (FK_EDGE_STORE_CALLS_MAX * 1344)
/* Without an answer, or without a connection, for so long it is given up; and tried again then. */
#define FK_EDGE_STORE_STALL_US 2000000
#define FK_EDGE_STORE_RETRY_US 1000000
/* What is put before session ids there: a name that an operator recognises. */
#define FK_EDGE_STORE_PREFIX_MAX 64
/* A password of it: Redis makes ones of 64 characters. */
#define FK_EDGE_STORE_PASSWORD_MAX 512
/* Bytes of it read at once: some twenty sessions. */
#define FK_EDGE_STORE_READ 16384

/* --- loop --- */

/* Children of one master: workers or fronts and signers of two generations on the largest hosts. */
#define FK_SUPER_CHILDREN_MAX 1024
/* A child is asked for a sign of life once in this time: often against the bounds below, seldom
 * against everything else that wakes a process. */
#define FK_SUPER_PING_US 1000000
/* Pings without an answer: then its master is not ready any more, and then it is hung and killed.
 * A worker's or front's turn of the loop takes milliseconds, a signer's FK_SIGNER_QUANTUM_US a
 * peer. A disk that stalls the audit process for longer stops operations anyway; the kernel then
 * kills it when the disk is back, and its successor gets the lines that it had not acknowledged. */
#define FK_SUPER_SUSPECT_PINGS 3
#define FK_SUPER_HUNG_PINGS    5
/* The same for a child that was born or told to load something, until it has done so: ten thousand
 * sites or keys take several seconds in which its loop does not run. */
#define FK_SUPER_LOADING_PINGS 60
/* A changed directory is read when nothing changed in it for so long, or in spite of changes after
 * the second time: a key and its certificate are written one after the other. */
#define FK_WATCH_SETTLE_US     300000
#define FK_WATCH_SETTLE_MAX_US 2000000
/* Messages that wait for one child: all that a start sends, several times over. */
#define FK_SUPER_QUEUE_MAX 1024
/* Names kept or under way in one process's cache: origins and key servers of a large edge. */
#define FK_DNS_CACHE_MAX 256
/* Addresses kept of one name: more than any client tries before its deadline. */
#define FK_DNS_ADDRS_MAX 16
/* Sockets of the resolver: a few servers, UDP and TCP each. */
#define FK_DNS_SOCKETS_MAX 32
/* An answer is believed for at least and at most this long: changes are seen within minutes. */
#define FK_DNS_TTL_MIN_S 1
#define FK_DNS_TTL_MAX_S 300
/* A failure is believed for this long: a retrying client must not flood the servers. */
#define FK_DNS_TTL_FAILED_S 2
/* Slots and rows of shared metrics: one slot a process, tables of a few hundred rows. */
#define FK_METRICS_SLOTS_MAX 4096
#define FK_METRICS_ROWS_MAX  4096

/* --- keyd --- */

/* Processes of one role: more than the processors of any machine this is for, and a byte each. */
#define FK_KEYD_CHILDREN_MAX 64
/* Ceilings of keyd.conf's limits block: descriptors and memory of one process. */
#define FK_KEYD_CONNECTIONS_MAX 65536
#define FK_KEYD_OUTSTANDING_MAX 65536
#define FK_KEYD_OUTPUT_MAX      (4 * 1024 * 1024)
/* Descriptors of a front besides one a channel: its listeners, signers of two generations, and what
 * a change brings. Only warned of when there are fewer. */
#define FK_KEYD_DESCRIPTORS 512
/* Edges that one key server knows: each has a slot of shared memory for its rate and quota. */
#define FK_KEYD_EDGES_MAX 1024
/* Keys of one key server: their index must fit the address space of a front, with certificates. */
#define FK_KEYD_KEYS_MAX 65536
/* A key or policy file: RSA-4096 in PEM with certificates of a chain is below 16 KiB. */
#define FK_KEYD_FILE_MAX (64 * 1024)
/* Names of one key (certificate and policy): what public CAs allow is 100. */
#define FK_KEYD_NAMES_MAX 1024
/* Bytes of one chain: it must fit an answer of INFO (65,535 bytes) beside names and head. */
#define FK_KEYD_CHAIN_BYTES (48 * 1024)
/* Certificates in one chain. */
#define FK_KEYD_CHAIN_MAX 16
/* Longest pause before an edge is dialled again: an edge that was restarted should not be without
 * its keys for longer. */
#define FK_KEYD_DIAL_PAUSE_MAX_US 2000000
/* Connections to edges that one front is given in so many microseconds: those for all workers of
 * many edges at once, but fewer than this host has ports for (each is taken for a minute); and for
 * each dial block those with which an edge that is away is looked for. */
#define FK_KEYD_DIALS_MAX     1024
#define FK_KEYD_DIALS_EACH    16
#define FK_KEYD_DIALS_TIME_US 10000000
/* Of these an edge may use so many, and when the edges together have, each its part of as many
 * again: one that uses up channels takes none away from the others. Half of what a front is given:
 * it and its master count from different moments. */
#define FK_KEYD_DIALS_FREE (FK_KEYD_DIALS_MAX / 4)
/* A master answers when connect_timeout is over at the latest; so long after that the front takes
 * the answer for lost and asks again. */
#define FK_KEYD_DIAL_ANSWER_US 5000000
/* A connection that waits for the edge's use is probed after so many idle seconds: a host that was
 * cut off and comes back knows nothing of it. */
#define FK_KEYD_DIAL_KEEPALIVE_S 10
/* Connections accepted, and frames of one channel handled, before others get their turn. */
#define FK_KEYD_ACCEPT_BATCH 64
#define FK_KEYD_FRAME_BATCH  256
/* Certificates of channels judged again in one turn of the tick (1 s at most): 25 ms of work. Those
 * left over follow at the next; only beyond 15,000 channels does that take more than a minute. */
#define FK_KEYD_JUDGE_BATCH 256
/* Bytes of operations that one front holds while there is no audit process: some 4,000. */
#define FK_KEYD_HELD_MAX (1024 * 1024)
/* PING and INFO of one edge at one front: a second, and at once. An edge's workers together read
 * the list of all keys that a key server can have in less; without a bound the copying of
 * certificates would take the front from other edges. */
#define FK_KEYD_TALK_RATE  1000
#define FK_KEYD_TALK_BURST 20000
/* Operators that wait for the end of one reload. */
#define FK_KEYD_WAITERS_MAX 16
/* New signers that have not read their keys and fronts that have not built what belongs to them by
 * then never will: the reload is given up. With the next less than an operator waits for. */
#define FK_KEYD_READY_US 30000000
/* A front that has it in service says so at once, or is in trouble. */
#define FK_KEYD_SERVE_US 10000000

/* Without randomness new ticket keys are tried for again after this. */
#define FK_KEYD_TICKET_RETRY_US 1000000

/* --- conf --- */

/* One file of a bundle: the CRL of a large CA takes a few megabytes. */
#define FK_BUNDLE_FILE_MAX (16u * 1024 * 1024)
/* All files of a bundle: ten thousand sites with two chains of 8 KiB each, and room. */
#define FK_BUNDLE_BYTES_MAX (256u * 1024 * 1024)
/* Files, globs and misses of a bundle: six files for each of ten thousand sites. */
#define FK_BUNDLE_ENTRIES_MAX 65536
/* Configuration text in all, a file counted each time it is included: ends include bombs. */
#define FK_CONF_BYTES_MAX (64u * 1024 * 1024)
/* Files read, each inclusion counted: one for each of ten thousand sites. */
#define FK_CONF_FILES_MAX 16384
/* Files including files: people lose their way at three. */
#define FK_CONF_INCLUDE_MAX 8
/* Blocks in blocks: the tables nest three deep. */
#define FK_CONF_NEST_MAX 8
/* A word or string: PATH_MAX. */
#define FK_CONF_TOKEN_MAX 4096
/* Values of one list: an allow list of a large network. */
#define FK_CONF_LIST_MAX 16384
/* Errors kept: more than anybody mends at once. */
#define FK_CONF_ERRORS_MAX 100
/* One error's text; longer ones are cut. */
#define FK_CONF_ERROR_SIZE 1024
/* Options of one kind of block: bits of struct fk_conf_block's `set`. */
#define FK_CONF_OPTIONS_MAX 64
/* Highest rate, in events an hour (10^9 a second): keeps conversions within 64 bits. */
#define FK_CONF_RATE_MAX 3600000000000ULL

/* --- handshaker: mode `handshake` --- */

/* Handshakes under way in one handshaker, some 50 KiB each; and of one edge, so that it leaves room
 * for others. */
#define FK_HANDSHAKES_MAX      8192
#define FK_HANDSHAKES_EDGE_MAX 4096
/* A handshake from HS_OPEN to its end: the edge's own patience with a client is 10 s. */
#define FK_HANDSHAKE_LIFE_US 15000000
/* How often the handshaker looks for those that are over. */
#define FK_HANDSHAKE_TICK_US 500000
/* Bytes of one client in one handshake: two ClientHellos of 16 KiB, and a flight. */
#define FK_HANDSHAKE_IN_MAX 65536
/* Requests about one handshake. A hello, another after HelloRetryRequest, a flight that comes in
 * some pieces; a client that sends its flight in records of a byte would cost a round trip and a
 * line in the audit log each. */
#define FK_HANDSHAKE_ROUNDS_MAX 16
/* Bytes of a site's ALPN names. They are compared with each of a client's names, of which 64 KiB
 * can hold 32,767: some ten million comparisons at most. */
#define FK_HANDSHAKE_ALPN_MAX 512
/* A front waits for a handshaker so much longer than that for a signer. */
#define FK_HANDSHAKE_GRACE_US 500000
/* Sites with a TLS context of their own in one handshaker, some 50 KiB each; the longest unused one
 * of the edge with the most makes room for another, which costs a millisecond. */
#define FK_HANDSHAKER_SITES_MAX 1024
/* Bytes between a front and a handshaker that wait in one direction: some hundred answers with
 * certificates. Beyond, requests are refused, and no more of them are read. */
#define FK_HANDSHAKER_QUEUE_MAX (4 * 1024 * 1024)
/* Questions for shares under way in an asker, and on one channel: as many as a channel of an edge
 * has requests. */
#define FK_ASKER_OUTSTANDING 4096
/* Getting a share may take this part of an operation's deadline: as long again is left. */
#define FK_ASKER_PART 2
/* How often an asker tells how the key servers are: status is that old at most. */
#define FK_ASKER_TICK_US 500000
/* How often a draining asker looks whether its questions are answered. */
#define FK_ASKER_DRAIN_LOOK_US 10000
/* One message between them: a frame's payload and its head. */
#define FK_HANDSHAKER_MESSAGE_MAX 65536
/* Ticket keys of handshakers are accepted for so long, a new one every quarter of it; a session can
 * be resumed within three quarters. */
#define FK_HANDSHAKER_KEY_LIFE_US (12 * 3600 * (uint64_t)1000000)
#define FK_HANDSHAKE_LIFETIME_MAX (9 * 3600U) /* s */
/* With a ticket secret, which of its keys count is looked at so often: a clock may be set. */
#define FK_HANDSHAKER_CLOCK_LOOK_US 60000000
/* TLS 1.2 sessions that all handshakers keep for clients without tickets: 512 bytes each. */
#define FK_HANDSHAKER_SESSIONS 8192

/* --- signer --- */

/* Secrets of ticket keys alive at once: one made every quarter of a life, one that is over but not
 * taken away yet, one that is announced. */
#define FK_TICKET_ROOTS_MAX 6
/* A signer that owes answers and has given none for this part (a quarter) of a call's deadline is
 * late: its calls are sent to another one, with most of their time left. A signer that works
 * answers each of its peers several times within that. */
#define FK_SIGNER_LATE_PART 4
/* With no signer at all operations wait for one for so long after the last has gone: a restart that
 * reads thousands of keys fits, and edges still have time for another key server. */
#define FK_SIGNER_GAP_US 2000000
/* Largest key file: an encrypted PEM of RSA-4096 is below 4 KiB; room for comments around it. */
#define FK_KEY_FILE_MAX 65536
/* Keys of one signer: a hosting provider's names; the sealed bundle stays below 200 MiB. */
#define FK_KEYS_MAX 65536
/* What a bundle says of edges that sign or borrow: a million keys named one by one. */
#define FK_SIGNER_EDGES_BYTES_MAX 24000000
/* Channels whose request counters a signer remembers, the least used of them forgotten first: more
 * than the edges have at once. */
#define FK_SIGNER_WINDOWS_MAX 1024
/* Handles: what a signer keeps between two operations of one handshake. As long as a client may
 * take for it: the edge's own patience is 10 s. */
#define FK_HANDLE_LIFE_US 15000000
/* Of one edge, the oldest dropped first: two thousand handshakes a second of clients 2 s away. */
#define FK_HANDLES_PER_EDGE 4096
/* Of all edges: sixteen at their most; some 300 bytes each. */
#define FK_HANDLES_MAX 65536
/* Edges that have any: each as one that signs and as one that does not, across a change of that. */
#define FK_HANDLE_OWNERS_MAX (2 * FK_KEYD_EDGES_MAX)
/* Shares of one key: each names the others by 32 bytes, in files and in a signer's bundle. */
#define FK_SHARES_MAX 16
/* One share: as long as the private numbers of an RSA-4096 key (signer/key_numbers.h). */
#define FK_SHARE_DATA_MAX 1792
/* A key is lent for so long at most: an edge that is no longer trusted has it until then. */
#define FK_LEND_SECONDS_MAX 3600U
/* Keys that are lent to one signer at once, 8 KiB of locked memory each; the one that ends first
 * makes room. */
#define FK_SIGNER_LENT_MAX 256
/* Lendings that a signer has asked for, the oldest forgotten first: those of a second, when each
 * operation has its own. And how long an answer is waited for: a site's longest deadline, and then
 * some. */
#define FK_SIGNER_LEND_ASKS_MAX 1024
#define FK_SIGNER_LEND_ASK_US   65000000
/* Processes that may use one signer: fronts or workers, one a core, of two generations, audit. */
#define FK_SIGNER_PEERS_MAX 256
/* Bytes of requests read from one peer at once: some fifty requests. */
#define FK_SIGNER_IN_MAX 16384
/* Results that a peer has not read yet; beyond it no more of its requests are looked at. */
#define FK_SIGNER_OUT_MAX 32768
/* Results are sent when this part (an eighth) of the requests that wait is done: the fewer wait the
 * sooner, so that a lone request is answered at once and a long queue wakes its front seldom, and
 * no result is held back for longer than an eighth of the time that its queue takes. */
#define FK_SIGNER_TURN_PART 8
/* Longest work for one peer before the next has its turn, but for one operation. */
#define FK_SIGNER_QUANTUM_US 10000
/* Chains whose last checkpoint a signer remembers, the youngest: restarts of the audit process in
 * its life. Older ones get no checkpoint any more. */
#define FK_SIGNER_CHAINS_MAX 64
/* Signers of one pool: one a core, of two generations. */
#define FK_SIGNER_POOL_MAX 256
/* Requests of a pool that wait for answers, ceiling of the option: ids have 16 bits of slot. */
#define FK_SIGNER_CALLS_MAX 65536

/* --- tokens --- */

/* HSMs and TPMs of one key server: each has a process of its own. */
#define FK_TOKENS_MAX 16
/* Sessions of one token, each with a thread: what network HSMs serve at once to one client. */
#define FK_TOKEN_SESSIONS_MAX 64
/* Ceiling of a token's `queue`: seconds of work of the fastest there are. */
#define FK_TOKEN_QUEUE_MAX 4096
/* Text of a token's configuration: paths, a TCTI. */
#define FK_TOKEN_TEXT_MAX 256
/* A PIN: PKCS#11 knows no bound; TPMs end at the size of a digest. */
#define FK_TOKEN_PIN_MAX 128
/* CKA_LABEL and CKA_ID of a key: people write labels; ids are hashes or counters. */
#define FK_TOKEN_LABEL_MAX 128
#define FK_TOKEN_ID_MAX    64
/* A TPM 2 key file (TSS2 PRIVATE KEY): of RSA-2048 it has 1.2 KiB. */
#define FK_TOKEN_FILE_MAX 2048
/* Paths that a token's process may use besides the system's: a folder, a device, a socket. */
#define FK_TOKEN_PATHS_MAX 16
/* A token's settings in a bundle. */
#define FK_TOKEN_SETTINGS_MAX 8192
/* A token that has gone is sought again at once, then after pauses that double. */
#define FK_TOKEN_PAUSE_MIN_US 500000
#define FK_TOKEN_PAUSE_MAX_US 15000000
/* An operation that finds the token gone (commonly a session that timed out) waits so long for the
 * next one, which takes milliseconds where the token is there: most of the deadline stays. */
#define FK_TOKEN_WAIT_US 1500000
/* Between two looks whether an idle token is still there. */
#define FK_TOKEN_LOOK_US 5000000
/* One operation that takes longer never ends: smart cards need a second or two for RSA-4096. */
#define FK_TOKEN_HUNG_US 30000000

/* --- record engine --- */

/* Handshake messages after the handshake, gathered: a NewSessionTicket with a large ticket. */
#define FK_RECORD_HANDSHAKE_MAX 32768

/* --- audit log --- */

/* Lines a front keeps until the audit process has them: some 5,000 operations. */
#define FK_AUDIT_SINK_MAX (1024 * 1024)
/* Operations wait for so long for another audit process before they are refused: a restart takes a
 * tenth of a second, edges wait for 3 s and want to try another key server within that. */
#define FK_AUDIT_GAP_US 2000000
/* At the end a log that cannot be written is tried for so long, twice at least. */
#define FK_AUDIT_END_US 2500000
/* Between two looks whether the log's file is still where it was opened. */
#define FK_KEYD_AUDIT_LOOK_US 1000000
/* Bytes read from one front at once, and lines chained before a write. */
#define FK_AUDIT_BATCH 65536
/* How long lines may gather between two batches: far below what anybody waits for, and at a
 * thousand operations a second already half of the writes. */
#define FK_AUDIT_REST_US 2000
/* Fronts of one audit process: one a core, of two generations. */
#define FK_AUDIT_PEERS_MAX 256

/* --- inline box --- */

/* Spans of one direction of a connection: full records make 256 of them for 4 MiB; the rest is for
 * peers that send single bytes, which are slowed down by it. 28 bytes each. */
#define FK_STREAM_MAP_SPANS_MAX 4096
/* Bytes between a map's ends, so that sequence numbers can be compared: windows are below 2^30 (RFC
 * 7323 section 2.3). */
#define FK_STREAM_MAP_REACH (UINT32_C(1) << 30)
/* The hold queue: pieces out of order (as many holes as a window of full segments can have; small
 * pieces that follow one another share one), and the least memory of one. */
#define FK_REASM_CHUNKS_MAX 1024
#define FK_REASM_CHUNK_MIN  512
/* Blocks of a selective acknowledgement: what a header holds without timestamps. */
#define FK_REASM_SACKS_MAX 4
/* Ranges that a sink has selectively acknowledged and that are remembered: one a lost segment, and
 * losses come in bursts. What is forgotten is sent once more than needed. */
#define FK_SENDER_SACKS 32
/* Duplicate acknowledgements that mean a loss (RFC 5681 section 3.2). */
#define FK_SENDER_DUPS 3
/* The retransmission timer before anything was measured and at most (RFC 6298 sections 2.1 and
 * 2.5), and at least: the RFC's second is too long for the local network that a box stands in, 200
 * ms are above all delayed acknowledgements in use. */
#define FK_SENDER_RTO_FIRST_US 1000000
#define FK_SENDER_RTO_MIN_US   200000
#define FK_SENDER_RTO_MAX_US   60000000
/* Times in a row that a sink does not answer before it is taken for gone: more than 10 minutes. */
#define FK_SENDER_TRIES 15
/* Bytes stored in each direction of a flow, and held out of order: what 100 ms take at 300 Mbit/s.
 * An idle flow has none of it. */
#define FK_FLOW_STORE (4 * 1024 * 1024)
/* Memory of a flow with all its bounds reached: in each direction what is stored in order and out
 * of order, and what goes on, whose queue may have twice its bytes; and the maps. */
#define FK_FLOW_MEMORY (2 * (4 * FK_FLOW_STORE + 32 * FK_STREAM_MAP_SPANS_MAX) + 4096)
/* The longest record: content, overhead of TLS 1.2's CBC (RFC 5246 section 6.2.3), header. */
#define FK_FLOW_RECORD (16384 + 2048 + 5)
/* Records of up to so many bytes are opened when they are whole in the modes that let others go on
 * before: in TLS 1.3 anything may be in a record, and what has 256 bytes may be a KeyUpdate with
 * padding; what fits into three segments is whole almost as soon as it has begun. */
#define FK_FLOW_WHOLE_STREAMING 256
#define FK_FLOW_WHOLE_HYBRID    4096
/* What a record adds at most under the suites that are offered: TLS 1.2 with GCM. */
#define FK_FLOW_OVERHEAD 29
/* A client's handshake messages that may be under way: a ClientHello, and a certificate chain. */
#define FK_FLOW_HELLO_WINDOW 65536
/* Bytes of a handshake that are moved at once. */
#define FK_FLOW_OUTPUT 4096
/* Without the option (RFC 9293 section 3.7.1), and the least that is believed: below, headers are
 * larger than what they carry. */
#define FK_FLOW_MSS_DEFAULT 536
#define FK_FLOW_MSS_MIN     64
/* Packets that every link carries, as far as a router's word is believed: IPv6's own minimum (RFC
 * 8200 section 5); IPv4's is below what is in use (RFC 791: 68), Linux believes no less than this.
 */
#define FK_FLOW_MTU4_MIN 552
#define FK_FLOW_MTU6_MIN 1280
/* A flow's states: a SYN is sent again for about a minute; a handshake may wait for a key server;
 * idle, longer than the two hours after which keep-alives begin; at the end, longer than one more
 * retransmission of the last FIN or byte. */
#define FK_FLOW_OPENING_US   60000000
#define FK_FLOW_HANDSHAKE_US 30000000
#define FK_FLOW_IDLE_US      UINT64_C(9000000000)
#define FK_FLOW_LINGER_US    60000000
/* Hops of a RST that the box sends for nobody's connection: the usual number. */
#define FK_FLOW_HOPS 64
/* A box's packets before they are sent: a frame of 64 KiB makes two or three of them, and a batch
 * is sent when half of the room is used. */
#define FK_BOX_OUT     (4 * 1024 * 1024)
#define FK_BOX_PACKETS 1024
/* A flow at which nothing has come for this long gives its ciphers' contexts back: as an edge's. */
#define FK_BOX_REST_US FK_EDGE_REST_US
/* A flow that passes as it is, idle: as the two hours after which keep-alives begin. */
#define FK_BOX_BYPASS_US UINT64_C(9000000000)
/* Ports that TLS is added to: each segment is compared with all of them. */
#define FK_BOX_PORTS_MAX 64
/* Ceiling of inline.conf's flows: 2 GiB of tables and idle flows. */
#define FK_BOX_FLOWS_MAX 1000000
/* Payload of a packet that is sent to a device to be cut: 65,535 less headers with all options. */
#define FK_WIRE_GSO 65400
/* What a handshake of the box may have to say before it is sent: a certificate chain. */
#define FK_WIRETLS_OUT (128 * 1024)
/* Rows of each of the box's tables that one worker tells at once: some 20 ms, in which packets wait
 * in their sockets' queues; and pieces of one stream among them. */
#define FK_WIRE_ROWS_MAX   2000
#define FK_WIRE_PIECES_MAX 16
/* Of all workers: three tables of rows of some 400 bytes are an answer (FK_ADMIN_ANSWER_MAX). */
#define FK_WIRE_ROWS_ALL 3000
/* How often a box that is to end looks whether its connections have ended. */
#define FK_WIRE_SETTLE_US 50000
/* Frames that are read at once, each up to 64 KiB: 2 MiB. */
#define FK_PKTIO_BATCH 32
/* Bytes that wait in a packet socket: 10 ms at 25 Gbit/s. */
#define FK_PKTIO_QUEUE (32 * 1024 * 1024)
/* Packets that wait in a queue of the kernel's for the box: as many as FK_PKTIO_QUEUE holds of
 * small ones with what the kernel has to each. */
#define FK_NFQUEUE_LENGTH 16384
/* Rounds of reading before timers and other events have their turn. */
#define FK_PKTIO_ROUNDS 16

/* --- demonstration --- */

/* Of a request's target and host, what the origin shows. */
#define FK_DEMO_TEXT_MAX 255
/* Of a field that it shows: a certificate in the longest of the formats. */
#define FK_DEMO_FIELD_MAX 4096
/* The origin: bytes of a request at once (bodies are read and dropped), an answer, connections (a
 * benchmark opens a few hundred at once), and for how long an idle one is kept. */
#define FK_DEMO_ORIGIN_IN      16384
#define FK_DEMO_ORIGIN_OUT     16384
#define FK_DEMO_ORIGIN_CONNS   4096
#define FK_DEMO_ORIGIN_IDLE_US 600000000
/* The relay, in each direction of a connection: bytes and pieces under way. Beyond, it stops
 * reading, as a full wire would. Connections: a channel for each worker, and on-demand ones. */
#define FK_DEMO_RELAY_BYTES (1024 * 1024)
#define FK_DEMO_RELAY_MARKS 4096
#define FK_DEMO_RELAY_WIRES 128

#endif
