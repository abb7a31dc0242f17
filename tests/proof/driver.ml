(* Reads a script, one operation a line, and prints the model's outcome of each. See README.md. *)

open Model

let numbers words = List.map int_of_string words

let kind_of_name = function
  | "region" -> Region
  | "mailbox" -> Mailbox
  | "signal" -> Signal
  | other -> failwith ("no kind of object: " ^ other)

(* The model's maps are functions, and every update wraps the last. This puts what they say into
   arrays: the same maps, as fast as at first. *)
let settle state =
  let { domains; slots; lineage_pool; _ } = state.sizes in
  let part d = Array.init (slots d) (fun slot -> state.table (d, slot)) in
  let held = Array.init domains part in
  let untouched = { generation = 1; content_of = Free } in
  let table (d, slot) =
    if d < domains && slot < Array.length held.(d) then held.(d).(slot) else untouched in
  let kept count value = let array = Array.init count value in fun index -> array.(index) in
  let kinds = [ Region; Mailbox; Signal; Reply; Object ] in
  let made = kept domains (fun d -> List.map (fun kind -> (kind, state.made d kind)) kinds) in
  let known = kept state.next_thing state.things in
  let none = { alive = false; planned = true; owner = 0; thing_kind = Signal } in
  { state with
    table;
    free = kept domains state.free;
    used = kept domains state.used;
    pool = kept lineage_pool state.pool;
    charged = kept domains state.charged;
    things = (fun number -> if number < state.next_thing then known number else none);
    made = (fun d kind -> List.assoc kind (made d));
    running = kept domains state.running;
    grants = (fun _ -> 0);
    revoked = [];
    dissolved = [] }

let gift slot number rights copied =
  { given = (slot, number); given_rights = rights; copied = copied = 1 }

let operation words =
  match words with
  | [ "create"; d; kind ] -> Create (int_of_string d, kind_of_name kind)
  | name :: words -> (
      match (name, numbers words) with
      | "derive", [ d; slot; number; rights; revocable ] ->
          Derive (d, (slot, number), rights, revocable = 1)
      | "revoke", [ d; slot; number ] -> Revoke (d, (slot, number))
      | "drop", [ d; slot; number ] -> Drop (d, (slot, number))
      | "mint", [ d; slot; number; rights ] -> Mint (d, (slot, number), rights)
      | "transfer", [ d; slot; number; given; generation; rights; copied; e; slot'; number' ] ->
          Transfer (d, (slot, number), gift given generation rights copied, e, (slot', number'))
      | "call", [ d; slot; number; e; slot'; number' ] ->
          Call (d, (slot, number), None, e, (slot', number'))
      | "lend", [ d; slot; number; lent; generation; rights; e; slot'; number' ] ->
          Call (d, (slot, number), Some ((lent, generation), rights), e, (slot', number'))
      | "answer", [ d; slot; number ] -> Answer (d, (slot, number), None)
      | "give", [ d; slot; number; given; generation; rights; copied ] ->
          Answer (d, (slot, number), Some (gift given generation rights copied))
      | "end", [ d ] -> End d
      | _ -> failwith ("not an operation: " ^ name))
  | [] -> failwith "an empty line"

let error_name = function
  | Revoked -> "Revoked"
  | Dead -> "Dead"
  | Denied -> "Denied"
  | QuotaExceeded -> "QuotaExceeded"
  | TooDeep -> "TooDeep"

let print_outcome = function
  | Handles handles ->
      print_string "handles";
      List.iter (fun (slot, number) -> Printf.printf " %d:%d" slot number) handles;
      print_newline ()
  | Done -> print_endline "done"
  | Failed why -> print_endline ("failed " ^ error_name why)
  | Fault -> print_endline "fault"

(* One word for each slot in use: domain:slot:generation:state:rights:depth:object. *)
let print_state state =
  for d = 0 to state.sizes.domains - 1 do
    for slot = 0 to state.sizes.slots d - 1 do
      let entry = state.table (d, slot) in
      let show sign rights depth number =
        Printf.printf "%d:%d:%d:%s:%d:%d:%d " d slot entry.generation sign rights depth number in
      match entry.content_of with
      | Held held when is_valid state held.origin_of ->
          show "held" held.rights (depth state held.origin_of) held.object0
      | Held _ | Left (false, _) -> show "revoked" 0 0 0
      | Left (true, _) -> show "dead" 0 0 0
      | Free | Retired -> ()
    done
  done;
  print_newline ()

let configuration = function
  | [ domains; slots; lineages; regions; mailboxes; signals; calls ] ->
      { domains;
        slots = (fun d -> if d = 0 then 0 else slots);
        lineage_quota = (fun _ -> lineages);
        object_quota = (fun _ kind ->
          match kind with
          | Region -> regions
          | Mailbox -> mailboxes
          | Signal -> signals
          | Reply -> calls
          | Object -> 0);
        lineage_pool = domains * lineages;
        last_generation = 0xFFFFFFFF }
  | _ -> failwith "sizes: domains slots lineages regions mailboxes signals calls"

let planning = function
  | [ "object"; d; kind ] -> PlanObject (int_of_string d, kind_of_name kind)
  | [ "grant"; d; number; rights ] ->
      PlanGrant (int_of_string d, int_of_string number, int_of_string rights)
  | words -> failwith ("not a line of a plan: " ^ String.concat " " words)

let rec read_plan lines =
  match String.split_on_char ' ' (input_line stdin) with
  | [ "boot" ] -> List.rev lines
  | words -> read_plan (planning words :: lines)

let () =
  let sizes =
    match String.split_on_char ' ' (input_line stdin) with
    | "sizes" :: words -> configuration (numbers words)
    | _ -> failwith "the first line is the sizes" in
  let state = ref (settle (boot sizes (read_plan []))) in
  try
    while true do
      match input_line stdin with
      | "state" -> print_state !state
      | line ->
          let after, outcome = step !state (operation (String.split_on_char ' ' line)) in
          state := settle after;
          print_outcome outcome
    done
  with End_of_file -> ()
