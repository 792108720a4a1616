/** The name of the product in outbound requests. */
import { packageVersion } from '../../version.ts';

/**
 * `User-Agent` of every outbound request. undici sends none by itself; Resend refuses such requests (403, error code
 * 1010: resend.com/docs/api-reference/introduction), and so do firewalls in front of panels (Cloudflare's Browser
 * Integrity Check).
 */
export const USER_AGENT = `nodebyte-backend/${packageVersion()} (+https://nodebyte.host)`;
