// What the app does with its database, query for query as it does it: one statement
// after the other, each on its own, and its checks before its inserts.
import { and, desc, eq, isNull, sql } from 'drizzle-orm';
import type { PostgresJsDatabase } from 'drizzle-orm/postgres-js';
import * as schema from './schema';
import { ActivityType, activityLogs, invitations, teamMembers, teams, users } from './schema';

export type Database = PostgresJsDatabase<typeof schema>;

async function log(db: Database, teamId: number | null, userId: number, action: ActivityType, ipAddress = '') {
  if (teamId === null) return;
  await db.insert(activityLogs).values({ teamId, userId, action, ipAddress });
}

async function teamIdOf(db: Database, userId: number) {
  const [row] = await db
    .select({ teamId: teamMembers.teamId })
    .from(users)
    .leftJoin(teamMembers, eq(users.id, teamMembers.userId))
    .where(eq(users.id, userId))
    .limit(1);
  return row?.teamId ?? null;
}

type SignUp = { email: string; passwordHash: string; inviteId?: number; ipAddress?: string };

export async function signUp(db: Database, { email, passwordHash, inviteId, ipAddress }: SignUp) {
  const existing = await db.select().from(users).where(eq(users.email, email)).limit(1);
  if (existing.length > 0) throw new Error('the e-mail has an account');

  const [user] = await db.insert(users).values({ email, passwordHash, role: 'owner' }).returning();
  let teamId: number;
  let role = 'owner';
  if (inviteId !== undefined) {
    const [invitation] = await db
      .select()
      .from(invitations)
      .where(and(eq(invitations.id, inviteId), eq(invitations.email, email), eq(invitations.status, 'pending')))
      .limit(1);
    if (!invitation) throw new Error('the invitation is not valid');
    ({ teamId, role } = invitation);
    await db.update(invitations).set({ status: 'accepted' }).where(eq(invitations.id, invitation.id));
    await log(db, teamId, user.id, ActivityType.ACCEPT_INVITATION, ipAddress);
  } else {
    const [team] = await db.insert(teams).values({ name: `${email}'s Team` }).returning();
    teamId = team.id;
    await log(db, teamId, user.id, ActivityType.CREATE_TEAM, ipAddress);
  }
  const [[member]] = await Promise.all([
    db.insert(teamMembers).values({ userId: user.id, teamId, role }).returning(),
    log(db, teamId, user.id, ActivityType.SIGN_UP, ipAddress),
  ]);
  return { user, member };
}

export async function signIn(db: Database, { email }: { email: string }) {
  const [found] = await db
    .select({ user: users, team: teams })
    .from(users)
    .leftJoin(teamMembers, eq(users.id, teamMembers.userId))
    .leftJoin(teams, eq(teamMembers.teamId, teams.id))
    .where(eq(users.email, email))
    .limit(1);
  if (!found) return null;
  await log(db, found.team?.id ?? null, found.user.id, ActivityType.SIGN_IN);
  return found;
}

export async function signOut(db: Database, { userId }: { userId: number }) {
  await log(db, await teamIdOf(db, userId), userId, ActivityType.SIGN_OUT);
}

// The user of a session.
export async function getUser(db: Database, { userId }: { userId: number }) {
  const [user] = await db
    .select()
    .from(users)
    .where(and(eq(users.id, userId), isNull(users.deletedAt)))
    .limit(1);
  return user ?? null;
}

type UpdateAccount = { userId: number; name: string; email: string };

export async function updateAccount(db: Database, { userId, name, email }: UpdateAccount) {
  const teamId = await teamIdOf(db, userId);
  await Promise.all([
    db.update(users).set({ name, email }).where(eq(users.id, userId)),
    log(db, teamId, userId, ActivityType.UPDATE_ACCOUNT),
  ]);
}

export async function updatePassword(db: Database, { userId, passwordHash }: { userId: number; passwordHash: string }) {
  const teamId = await teamIdOf(db, userId);
  await Promise.all([
    db.update(users).set({ passwordHash }).where(eq(users.id, userId)),
    log(db, teamId, userId, ActivityType.UPDATE_PASSWORD),
  ]);
}

export async function deleteAccount(db: Database, { userId }: { userId: number }) {
  const teamId = await teamIdOf(db, userId);
  await log(db, teamId, userId, ActivityType.DELETE_ACCOUNT);
  await db
    .update(users)
    .set({
      deletedAt: sql`CURRENT_TIMESTAMP`,
      email: sql`CONCAT(email, '-', id, '-deleted')`,
    })
    .where(eq(users.id, userId));
  if (teamId !== null) {
    await db.delete(teamMembers).where(and(eq(teamMembers.userId, userId), eq(teamMembers.teamId, teamId)));
  }
}

type Invite = { userId: number; email: string; role: string };

export async function inviteTeamMember(db: Database, { userId, email, role }: Invite) {
  const teamId = await teamIdOf(db, userId);
  if (teamId === null) throw new Error('the user is in no team');
  const member = await db
    .select()
    .from(users)
    .leftJoin(teamMembers, eq(users.id, teamMembers.userId))
    .where(and(eq(users.email, email), eq(teamMembers.teamId, teamId)))
    .limit(1);
  if (member.length > 0) throw new Error('the e-mail is a member');
  const invited = await db
    .select()
    .from(invitations)
    .where(and(eq(invitations.email, email), eq(invitations.teamId, teamId), eq(invitations.status, 'pending')))
    .limit(1);
  if (invited.length > 0) throw new Error('the e-mail is invited');
  const [invitation] = await db
    .insert(invitations)
    .values({ teamId, email, role, invitedBy: userId, status: 'pending' })
    .returning();
  await log(db, teamId, userId, ActivityType.INVITE_TEAM_MEMBER);
  return invitation;
}

export async function removeTeamMember(db: Database, { userId, memberId }: { userId: number; memberId: number }) {
  const teamId = await teamIdOf(db, userId);
  if (teamId === null) throw new Error('the user is in no team');
  await db.delete(teamMembers).where(and(eq(teamMembers.id, memberId), eq(teamMembers.teamId, teamId)));
  await log(db, teamId, userId, ActivityType.REMOVE_TEAM_MEMBER);
}

export async function getActivityLogs(db: Database, { userId }: { userId: number }) {
  return await db
    .select({
      id: activityLogs.id,
      action: activityLogs.action,
      timestamp: activityLogs.timestamp,
      ipAddress: activityLogs.ipAddress,
      userName: users.name,
    })
    .from(activityLogs)
    .leftJoin(users, eq(activityLogs.userId, users.id))
    .where(eq(activityLogs.userId, userId))
    .orderBy(desc(activityLogs.timestamp))
    .limit(10);
}

// The body of the app's route for a team.
export async function getTeamForUser(db: Database, { userId }: { userId: number }) {
  const member = await db.query.teamMembers.findFirst({
    where: eq(teamMembers.userId, userId),
    with: {
      team: {
        with: {
          teamMembers: {
            with: {
              user: { columns: { id: true, name: true, email: true } },
            },
          },
        },
      },
    },
  });
  const team: schema.TeamDataWithMembers | null = member?.team ?? null;
  return team;
}

export async function getTeamByStripeCustomerId(db: Database, { customerId }: { customerId: string }) {
  const [team] = await db.select().from(teams).where(eq(teams.stripeCustomerId, customerId)).limit(1);
  return team ?? null;
}

// After the checkout.
export async function linkCustomer(db: Database, { teamId, customerId }: { teamId: number; customerId: string }) {
  await db.update(teams).set({ stripeCustomerId: customerId, updatedAt: new Date() }).where(eq(teams.id, teamId));
}

type Subscription = Pick<schema.Team, 'stripeSubscriptionId' | 'stripeProductId' | 'planName'> & {
  teamId: number;
  subscriptionStatus: string;
};

export async function updateTeamSubscription(db: Database, { teamId, ...subscription }: Subscription) {
  await db
    .update(teams)
    .set({ ...subscription, updatedAt: new Date() })
    .where(eq(teams.id, teamId));
}
