/** Passwords that a command sets: given by the caller, or generated and printed once. */
import { randomInt } from 'node:crypto';
import type { Command } from 'commander';
import { passwordProblem } from '../../domain/accounts/password-policy.ts';
import type { CommandIo } from './command.ts';
import { UsageError } from './errors.ts';

export interface PasswordFlags {
  password?: string;
  passwordStdin?: boolean;
}

/** Adds `--password` and `--password-stdin`. */
export const withPasswordOptions = (command: Command): Command =>
  command
    .option('--password <text>', 'password; other users of this machine can see it, so prefer --password-stdin')
    .option('--password-stdin', 'read the password from standard input');

/**
 * The given password, or a generated one, which the command then has to print.
 * @throws {UsageError} when both options are given or the password breaks a rule.
 */
export async function choosePassword(
  flags: PasswordFlags,
  io: Pick<CommandIo, 'stdin'>,
): Promise<{ password: string; generated: boolean }> {
  const given = await givenPassword(flags, io);
  const password = given ?? generatePassword();
  const problem = passwordProblem(password);
  if (problem !== undefined) throw new UsageError(problem.message);
  return { password, generated: given === undefined };
}

async function givenPassword(flags: PasswordFlags, { stdin }: Pick<CommandIo, 'stdin'>): Promise<string | undefined> {
  if (flags.passwordStdin !== true) return flags.password;
  if (flags.password !== undefined) throw new UsageError('give --password or --password-stdin, not both');
  let text = '';
  stdin.setEncoding('utf8');
  for await (const chunk of stdin) text += String(chunk);
  return text.replace(/\r?\n$/, '');
}

/** 20 characters of every class that the password rules require, without those that look alike. */
function generatePassword(): string {
  const all = 'ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789';
  for (;;) {
    const password = Array.from({ length: 20 }, () => all[randomInt(all.length)]).join('');
    if (passwordProblem(password) === undefined) return password;
  }
}
