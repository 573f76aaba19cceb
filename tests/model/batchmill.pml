/* batchmill.pml -- one consumer, one server, one lock, and everything that may happen between them.

   What the code does, reduced to the moves that order, window, lock and exactly-once depend on. Each
   move is atomic, as it is in the code under its mutex; moves of the consumer, the server, its
   workers and the network interleave in every possible way. The network loses, doubles and reorders;
   the server and the consumer die at any moment, forget what they had in memory, and go on. Each
   fault happens a bounded number of times, so that there are finitely many states.

   A batch has two steps: the first needs only a worker, the second the lock as well, so that batches
   finish in any order and wait in the lock's line. What a batch *is* is its content, which the
   consumer compares with what must come next.

   -DN=3 batches, -DP=1 prefetch, -DW=2 workers, -DDROPS, -DDUPS, -DSERVER_KILLS, -DCONSUMER_KILLS.
   -DMUTANT_x breaks one rule; run.py lists them and what spin must find. */

#ifndef N
#define N 3
#endif
#ifndef P
#define P 1
#endif
#ifndef W
#define W 2
#endif
#ifndef DROPS
#define DROPS 1
#endif
#ifndef DUPS
#define DUPS 1
#endif
#ifndef SERVER_KILLS
#define SERVER_KILLS 1
#endif
#ifndef CONSUMER_KILLS
#define CONSUMER_KILLS 1
#endif

#ifdef MUTANT_WINDOW
#define TOO_WIDE 1
#else
#define TOO_WIDE 0
#endif
#ifdef MUTANT_ACK_TOO_FAR
#define TOO_FAR 1
#else
#define TOO_FAR 0
#endif
#ifdef MUTANT_CHECKPOINT
#define CHECKPOINT_OFF (want < N)
#else
#define CHECKPOINT_OFF 0
#endif

#define STREAMS 2 /* that the server may have: the consumer's, and one of an earlier life */
#define NOBODY 255

/* ---- The network: each place holds one message, so any of them may come first ---- */

mtype = { OPEN, ASK, OPENED, BATCH, LOST };

#define PLACES 2
chan up[PLACES] = [1] of { mtype, byte, byte, byte };   /* OPEN nonce position 0; ASK stream seq ack */
chan down[PLACES] = [1] of { mtype, byte, byte, byte }; /* OPENED nonce stream 0; BATCH stream seq
                                                           content; LOST stream 0 0 */
byte drops = DROPS, dups = DUPS, server_kills = SERVER_KILLS, consumer_kills = CONSUMER_KILLS;

/* A full network loses what is sent: the sender cannot tell that from any other loss. */
inline send_up(kind, x, y, z) {
    if
    :: nfull(up[0]) -> up[0]!kind(x, y, z)
    :: full(up[0]) && nfull(up[1]) -> up[1]!kind(x, y, z)
    :: full(up[0]) && full(up[1]) -> skip
    fi
}
inline send_down(kind, x, y, z) {
    if
    :: nfull(down[0]) -> down[0]!kind(x, y, z)
    :: full(down[0]) && nfull(down[1]) -> down[1]!kind(x, y, z)
    :: full(down[0]) && full(down[1]) -> skip
    fi
}

/* ---- The consumer: client/c/window.c and stream.c ---- */

byte stream = 0;   /* the id it was told; 0: none */
byte nonce = 1;    /* of its open, new for each */
bool opening = false;
byte want = 0;     /* the batch it waits for or holds: what it acknowledges */
byte saved = 0;    /* on its disk, with what it made of the batches before */
bool started = false;
byte here[N];      /* content + 1 of what has come; 0: nothing */
bool asked_for[N];
bool over = false;
byte passed = 0;   /* how far it really was when it saved */

/* ---- The server: server/session_stream.c and src/run ---- */

byte last_id = 0;
byte id[STREAMS];        /* 0: no such stream */
byte nonce_of[STREAMS];
byte asked[STREAMS];     /* batches before are released */
byte created[STREAMS];
byte committed[STREAMS]; /* batches before took their place in the order */
bool parked_ask[STREAMS * N];
#define NONE 0 /* in the first or second step, or between them */
#define READY 1
#define FIRST 2
#define PARKED 3
#define GRANTED 4
#define SECOND 5
#define DONE 6
byte job[STREAMS * N];
bool dropped[STREAMS * N]; /* its stream is gone; what runs ends at its next boundary */
byte running = 0, inside = 0;
byte holder = NOBODY;        /* of the lock */
byte line[STREAMS * N];      /* first come, first served */
byte nline = 0;
byte arrivals = 0, arrived[STREAMS * N]; /* what the line must agree with */

#define at(s, seq) ((s) * N + (seq))

inline lock_leave(j) {
    /* `j` gives the lock back; the head of the line has it now. */
    if
    :: nline == 0 -> holder = NOBODY
    :: else ->
#ifdef MUTANT_LIFO_LOCK
        holder = line[nline - 1];
#else
        holder = line[0];
        k = 0;
        do
        :: k + 1 < nline -> line[k] = line[k + 1]; k++
        :: else -> break
        od;
#endif
        nline--;
        line[nline] = 0;
        k = 0;
        do
        :: k < STREAMS * N ->
            assert(job[k] != PARKED || k == holder || arrived[k] > arrived[holder]); /* FIFO */
            k++
        :: else -> break
        od;
        k = 0;
        arrived[holder] = 0;
        job[holder] = GRANTED
    fi
}

inline lock_abandon(j) {
    /* `j` leaves the line without having had the lock. */
    k = 0;
    do
    :: k < nline && line[k] != j -> k++
    :: else -> break
    od;
    do
    :: k + 1 < nline -> line[k] = line[k + 1]; k++
    :: else -> break
    od;
    nline--;
    line[nline] = 0;
    arrived[j] = 0;
    k = 0
}

inline job_free(j) {
    job[j] = NONE;
    dropped[j] = false
}

/* A window [asked, asked + P] is full of batches. */
inline stream_fill(s) {
    do
    :: created[s] < N && created[s] <= asked[s] + P + TOO_WIDE && job[at(s, created[s])] == NONE ->
        assert(started || id[s] != stream); /* nothing is created before the first ask */
        job[at(s, created[s])] = READY;
        created[s]++;
        assert(created[s] - asked[s] <= P + 1)
    :: else -> break
    od
}

inline stream_answer(s, seq) {
    parked_ask[at(s, seq)] = false;
    send_down(BATCH, id[s], seq, seq)
}

inline stream_commit(s) {
    do
    :: committed[s] < created[s] && job[at(s, committed[s])] == DONE ->
        committed[s]++;
        if
        :: parked_ask[at(s, committed[s] - 1)] -> stream_answer(s, committed[s] - 1)
        :: else -> skip
        fi
    :: else -> break
    od
}

/* Its work stops at the next boundary, and gives back what it has. */
inline stream_close(s) {
    id[s] = 0;
    nonce_of[s] = 0;
    m = 0;
    do
    :: m < N ->
        parked_ask[at(s, m)] = false;
        if
        :: job[at(s, m)] == PARKED -> lock_abandon(at(s, m)); job_free(at(s, m))
        :: job[at(s, m)] == GRANTED ->
#ifndef MUTANT_KEPT_BY_DROPPED
            lock_leave(at(s, m));
#endif
            job_free(at(s, m))
        :: job[at(s, m)] == FIRST || job[at(s, m)] == SECOND ->
#ifdef MUTANT_RUNNING_DROPPED
            running--;
            job_free(at(s, m))
#else
            dropped[at(s, m)] = true
#endif
        :: else -> job_free(at(s, m))
        fi;
        m++
    :: else -> break
    od;
    m = 0;
    asked[s] = 0; created[s] = 0; committed[s] = 0
}

#define still_runs(s, seq) (job[at(s, seq)] != NONE)
#if N > 3
#define slot_free(s) (id[s] == 0 && !still_runs(s, 0) && !still_runs(s, 1) && !still_runs(s, 2) && \
                      !still_runs(s, 3))
#elif N > 2
#define slot_free(s) (id[s] == 0 && !still_runs(s, 0) && !still_runs(s, 1) && !still_runs(s, 2))
#else
#define slot_free(s) (id[s] == 0 && !still_runs(s, 0) && !still_runs(s, 1))
#endif

inline server_open(its_nonce, position) {
    /* The same nonce names the same stream: a repeat opens nothing. */
    if
    :: id[0] != 0 && nonce_of[0] == its_nonce -> send_down(OPENED, its_nonce, id[0], 0)
    :: id[1] != 0 && nonce_of[1] == its_nonce -> send_down(OPENED, its_nonce, id[1], 0)
    :: else ->
        if
        :: slot_free(0) -> s = 0
        :: !slot_free(0) && slot_free(1) -> s = 1
        :: else -> s = NOBODY /* no room until a lease is over: it is asked again */
        fi;
        if
        :: s != NOBODY ->
            last_id++;
            id[s] = last_id;
            nonce_of[s] = its_nonce;
            asked[s] = position; created[s] = position; committed[s] = position;
            send_down(OPENED, its_nonce, id[s], 0)
        :: else -> skip
        fi
    fi;
    s = 0
}

inline server_ask(its_id, first, ack) {
    if
    :: id[0] == its_id && its_id != 0 -> s = 0
    :: id[1] == its_id && its_id != 0 -> s = 1
    :: else -> s = NOBODY
    fi;
    if
    :: s == NOBODY ->
#ifdef MUTANT_STALE_ANSWERED
        send_down(BATCH, its_id, first, 0)
#else
        send_down(LOST, its_id, 0, 0)
#endif
    :: else ->
        do /* what is acknowledged is released; nobody can acknowledge what was not handed out */
        :: asked[s] < ack && asked[s] < committed[s] ->
            job_free(at(s, asked[s]));
            asked[s]++
        :: else -> break
        od;
        stream_fill(s);
        if
        :: first < asked[s] -> skip
        :: first >= asked[s] && first < committed[s] -> send_down(BATCH, its_id, first, first)
        :: else -> parked_ask[at(s, first)] = true
        fi
    fi;
    s = 0
}

active proctype server() {
    byte a, b, c, k = 0, m = 0, s = 0;
end:
    do
    :: atomic { up[0]?OPEN(a, b, c) -> server_open(a, b); a = 0; b = 0; c = 0 }
    :: atomic { up[1]?OPEN(a, b, c) -> server_open(a, b); a = 0; b = 0; c = 0 }
    :: atomic { up[0]?ASK(a, b, c) -> server_ask(a, b, c); a = 0; b = 0; c = 0 }
    :: atomic { up[1]?ASK(a, b, c) -> server_ask(a, b, c); a = 0; b = 0; c = 0 }
    /* A lease ends: of a stream that its consumer does not know any more. */
    :: atomic { id[0] != 0 && id[0] != stream && nonce_of[0] != nonce -> stream_close(0) }
    :: atomic { id[1] != 0 && id[1] != stream && nonce_of[1] != nonce -> stream_close(1) }
    :: atomic { server_kills > 0 && !over ->
        server_kills--;
        stream_close(0); stream_close(1);
        k = 0;
        do
        :: k < STREAMS * N -> job_free(k); arrived[k] = 0; line[k] = 0; k++
        :: else -> break
        od;
        k = 0;
        running = 0; inside = 0; holder = NOBODY; nline = 0
      }
    od
}

/* ---- Workers: src/run/job.c. Any batch may be the next to move. ---- */

inline lock_enter(j) {
    if
#ifdef MUTANT_LOCK_SKIPPED
    :: true -> job[j] = GRANTED
#else
    :: holder == NOBODY -> holder = j; job[j] = GRANTED
    :: else ->
        line[nline] = j;
        nline++;
        arrivals++;
        arrived[j] = arrivals;
        job[j] = PARKED
#endif
    fi
}

inline work(j) {
    if
    :: job[j] == READY && running < W -> running++; job[j] = FIRST
    :: job[j] == FIRST ->
        running--;
        if
        :: dropped[j] -> job_free(j)
        :: else -> lock_enter(j)
        fi
    :: job[j] == GRANTED && running < W ->
        running++;
        inside++;
        assert(inside == 1); /* one batch at a time in the lock */
        job[j] = SECOND
    :: job[j] == SECOND ->
        running--;
        inside--;
#ifdef MUTANT_LOCK_KEPT
        if
        :: dropped[j] -> skip
        :: else -> lock_leave(j)
        fi;
#else
        lock_leave(j);
#endif
        if
        :: dropped[j] -> job_free(j)
        :: else ->
            job[j] = DONE;
            stream_commit(j / N)
        fi
    fi;
    assert(running <= W);
    if
    :: nline == 0 -> arrivals = 0 /* so that the numbers stay small */
    :: else -> skip
    fi
}

#define can_move(j) ((job[j] == READY && running < W) || job[j] == FIRST || \
                     (job[j] == GRANTED && running < W) || job[j] == SECOND)

active proctype workers() {
    byte k = 0;
end:
    do
    :: atomic { can_move(0) -> work(0) }
    :: atomic { can_move(1) -> work(1) }
    :: atomic { can_move(2) -> work(2) }
    :: atomic { can_move(3) -> work(3) }
#if STREAMS * N > 4
    :: atomic { can_move(4) -> work(4) }
    :: atomic { can_move(5) -> work(5) }
#endif
#if STREAMS * N > 6
    :: atomic { can_move(6) -> work(6) }
    :: atomic { can_move(7) -> work(7) }
#endif
    od
}

/* ---- The network's own will ---- */

active proctype network() {
    mtype kind;
    byte a, b, c;
end:
    do
    :: atomic { drops > 0 && nempty(up[0]) -> up[0]?kind(a, b, c); drops--; a = 0; b = 0; c = 0 }
    :: atomic { drops > 0 && nempty(up[1]) -> up[1]?kind(a, b, c); drops--; a = 0; b = 0; c = 0 }
    :: atomic { drops > 0 && nempty(down[0]) -> down[0]?kind(a, b, c); drops--; a = 0; b = 0; c = 0 }
    :: atomic { drops > 0 && nempty(down[1]) -> down[1]?kind(a, b, c); drops--; a = 0; b = 0; c = 0 }
    :: atomic { dups > 0 && nempty(up[0]) && empty(up[1]) ->
        up[0]?<kind(a, b, c)>; up[1]!kind(a, b, c); dups--; a = 0; b = 0; c = 0 }
    :: atomic { dups > 0 && nempty(down[0]) && empty(down[1]) ->
        down[0]?<kind(a, b, c)>; down[1]!kind(a, b, c); dups--; a = 0; b = 0; c = 0 }
    od
}

/* ---- The consumer's moves ---- */

inline forget() { /* what has come and what was asked for: of a stream that is no more */
    i = 0;
    do
    :: i < N -> here[i] = 0; asked_for[i] = false; i++
    :: else -> break
    od;
    i = 0
}

inline open_anew() {
    stream = 0;
    nonce++;
    opening = false;
    forget()
}

inline take_batch(its_id, seq, content) {
    if
    :: its_id == stream && seq >= want && seq <= want + P && here[seq] == 0 ->
#ifdef MUTANT_BY_FINISH
        /* the next place, whatever came */
        i = want;
        do
        :: i < N && here[i] != 0 -> i++
        :: else -> break
        od;
        if
        :: i < N -> here[i] = content + 1
        :: else -> skip
        fi;
        i = 0
#else
        here[seq] = content + 1
#endif
#ifdef MUTANT_NO_DEDUP
    :: its_id == stream && seq + 1 == want && want < N && here[want] == 0 -> here[want] = content + 1
#endif
    :: else -> skip
    fi
}

active proctype consumer() {
    byte a, b, c, i = 0;
    do
    :: atomic { !over && stream == 0 && !opening -> opening = true; send_up(OPEN, nonce, want, 0) }
    /* Ask for what the window has room for; the ack says what it is done with. */
    :: atomic { !over && stream != 0 && want < N && !asked_for[want] ->
        started = true; asked_for[want] = true; send_up(ASK, stream, want, want + TOO_FAR) }
#if P > 0
    :: atomic { !over && stream != 0 && want + 1 < N && !asked_for[want + 1] ->
        started = true; asked_for[want + 1] = true; send_up(ASK, stream, want + 1, want) }
#endif
    /* Nothing is on its way and nothing runs: what was lost is asked for again. */
#ifndef MUTANT_NO_RESEND
    :: atomic { !over && timeout && opening -> send_up(OPEN, nonce, want, 0) }
    :: atomic { !over && timeout && stream != 0 && here[want] == 0 ->
        send_up(ASK, stream, want, want) }
#endif
    :: atomic { down[0]?BATCH(a, b, c) -> take_batch(a, b, c); a = 0; b = 0; c = 0 }
    :: atomic { down[1]?BATCH(a, b, c) -> take_batch(a, b, c); a = 0; b = 0; c = 0 }
    :: atomic { down[0]?OPENED(a, b, c) ->
        if
        :: opening && a == nonce -> stream = b; opening = false
        :: else -> skip
        fi; a = 0; b = 0; c = 0 }
    :: atomic { down[1]?OPENED(a, b, c) ->
        if
        :: opening && a == nonce -> stream = b; opening = false
        :: else -> skip
        fi; a = 0; b = 0; c = 0 }
    :: atomic { down[0]?LOST(a, b, c) ->
        if
        :: a == stream && stream != 0 -> open_anew()
        :: else -> skip
        fi; a = 0; b = 0; c = 0 }
    :: atomic { down[1]?LOST(a, b, c) ->
        if
        :: a == stream && stream != 0 -> open_anew()
        :: else -> skip
        fi; a = 0; b = 0; c = 0 }
    /* The next batch in order is here: it must be the one that comes next in what is saved. */
    :: atomic { !over && want < N && here[want] != 0 ->
        assert(here[want] - 1 == want); /* order, once, the right content */
        here[want] = 0;
        asked_for[want] = false;
        want++
      }
    /* What it made of the batches and its position, in one atomic write. */
    :: atomic { !over && saved < want ->
        saved = want + CHECKPOINT_OFF;
        passed = want }
    :: atomic { consumer_kills > 0 && !over ->
        consumer_kills--;
        assert(saved == passed); /* a gap or a repeat in what was committed */
        want = saved;
        started = false;
        open_anew()
      }
    :: atomic { !over && want == N && saved == N -> over = true; stream = 0; nonce++; break }
    od;
    /* What still comes is nobody's. */
end:
    do
    :: atomic { down[0]?_, _, _, _ -> skip }
    :: atomic { down[1]?_, _, _, _ -> skip }
    od
}
