/**
 * Brings the allocation that is shown for a server (alias sa) to `servers s`: the primary one; where it is not known or not
 * mirrored, the assigned one with the lowest id. Its alias is null when it is blank.
 */
export const SHOWN_ALLOCATION = `left join lateral (
  select al.id, al.ip, al.port, nullif(btrim(al.alias), '') as alias from allocations al
   where al."serverId" = s.id and (al."isAssigned" is not false or al.id = s."primaryAllocationId")
   order by al.id = s."primaryAllocationId" desc nulls last, al.id limit 1) sa on true`;
