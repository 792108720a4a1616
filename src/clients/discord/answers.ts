/** What an answer of Discord, or its absence, means for a message. */

/** How long and for whom nothing may be sent. `all`: every webhook of this service. */
export interface Pause {
  scope: 'webhook' | 'channel' | 'all';
  ms: number;
}

/** What became of one request. `detail` is a public sentence without URL, token and texts of the message. */
export type PostResult =
  | {
      outcome: 'delivered';
      httpStatus: number;
      messageId: string | null;
      /** The channel that Discord posted to; null if the answer does not say it. */
      channelId: string | null;
      /** From the headers: the webhook has used up its limit. */
      pause?: Pause;
    }
  | {
      outcome: 'refused';
      /** Null: our own rules refused the URL before anything was sent. */
      httpStatus: number | null;
      discordCode: number | null;
      detail: string;
      /** The webhook is gone or its token is wrong: no further request can succeed, and repeats lead to a ban. */
      dead: boolean;
      /** Only our name or picture was refused: the message can be sent without them. */
      plainHelps: boolean;
      pause?: Pause;
    }
  | { outcome: 'limited'; httpStatus: number; discordCode: number | null; detail: string; pause: Pause }
  | {
      /** No fault of the message: it is sent again. `lost`: it may have arrived. */
      outcome: 'unavailable' | 'lost';
      httpStatus: number | null;
      discordCode: number | null;
      detail: string;
      pause?: Pause;
    };

/** What a webhook's own URL answers (GET, which posts nothing). */
export type InspectResult =
  | { state: 'alive'; channelId: string | null; name: string | null }
  /** Nothing can be posted there: Discord does not know it, it is of another kind, or our own rules refuse the URL. */
  | { state: 'dead'; detail: string }
  /** It could not be asked. */
  | { state: 'unknown'; detail: string };
