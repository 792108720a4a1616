/** The configuration of the simulated daemon. Names in brackets are those of pterodactyl/wings. */

/** Settings that can be changed while the daemon runs; new connections have them. */
export interface DaemonSettings {
  /** The panel as the daemon knows it (config.go, `remote`): the only `Origin` that may connect. */
  panelLocation: string;
  /** Further ones; `*`: all (config.go, `allowed_origins`). */
  allowedOrigins: string[];
  /** Lines of a reading (config.go, `websocket_log_count`). */
  logCount: number;
  /** Milliseconds between two looks at the end of the token (listeners.go). */
  tickMs: number;
  /** Milliseconds in which a connection must authenticate. */
  authTimeoutMs: number;
  /** Authenticated connections of one server. */
  maxConnections: number;
}
